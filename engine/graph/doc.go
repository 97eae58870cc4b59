// Package graph turns a network into an ordered plan of fused computations.
//
// A network is described as a Gorgonia expression graph whose operations are
// our own fused kernels (package nn defines them), Gorgonia differentiates it,
// and Plan orders what is left and gives every intermediate value a place in
// one arena. An executor for a device (package cpu) then runs the plan; it
// never sees Gorgonia. No other package imports Gorgonia.
//
// The pieces, in the order in which they are met:
//
//   - [Kernel]: one fused computation; it knows sizes, not data.
//   - [Call]: one application of a kernel to nodes.
//   - [Op]: one output of a call, as Gorgonia sees it.
//   - [Builder]: makes the nodes and knows which depend on a trainable input.
//   - [Plan]: steps, values and the arena.
//
// Gorgonia's own TapeMachine can run the same graph through [Op.Do]: slow, and
// independent of the planner, which is what the tests want.
package graph
