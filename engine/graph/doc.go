// Package graph turns a network into an ordered plan of fused computations.
//
// A network is a Gorgonia expression graph whose operations are our own fused
// kernels (package nn defines them). Gorgonia differentiates it. Plan then orders
// the computations that are needed and gives every intermediate value an offset in
// one arena. An executor for a device, such as package cpu, runs the plan without
// Gorgonia. No other package imports Gorgonia.
//
// The main types:
//
//   - [Kernel]: one fused computation; it holds sizes, not data.
//   - [Call]: one application of a kernel to nodes.
//   - [Op]: one output of a call, as an operation of Gorgonia.
//   - [Builder]: makes nodes and records which depend on a trainable parameter.
//   - [Plan]: steps, values and the arena.
//
// Gorgonia's own TapeMachine can run the same graph through [Op.Do]. It is slow, but
// does not depend on the planner: tests compare the two.
package graph
