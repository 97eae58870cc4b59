package lower

import (
	"slices"
)

// streams orders the operations and assigns them to streams. Shared operations come first,
// on stream 0; then each learner's operations on a stream of its own. The learner that
// depends on the last shared operation uses stream 0.
func (l *lowering) streams(learners int) {
	p := l.program
	slices.SortStableFunc(p.Operations, func(a, b *Operation) int { return rank(a) - rank(b) })
	p.Streams = max(1, learners)
	writer := map[*Value]int{}
	for i, o := range p.Operations {
		for _, v := range o.Out {
			if v != nil {
				writer[v] = i
			}
		}
	}
	reads := make([]int, p.Streams) // for each learner, 1 + the last shared operation whose results it reads
	for _, o := range p.Operations {
		for _, v := range o.In {
			if w, ok := writer[v]; ok && o.owner >= 0 && p.Operations[w].owner < 0 {
				reads[o.owner] = max(reads[o.owner], w+1)
			}
		}
	}
	main := 0
	for i := range reads {
		if reads[i] >= reads[main] {
			main = i
		}
	}
	l.streamOf = make([]int, p.Streams)
	next := 1
	for i := range l.streamOf {
		if i != main {
			l.streamOf[i] = next
			next++
		}
	}
	l.after = make([]int, p.Streams)
	for i, n := range reads {
		l.after[l.streamOf[i]] = n
	}
	for _, o := range p.Operations {
		if o.owner >= 0 {
			o.Stream = l.streamOf[o.owner]
		}
	}
}

// rank orders operations: shared ones, then those of each learner.
func rank(o *Operation) int { return max(o.owner, -1) }

// emit writes the commands of all passes. last writes a learner's commands after a pass.
func (l *lowering) emit(last func(e *emitter, learner int)) {
	p := l.program
	e := &emitter{program: p}
	command := func(c Command) { p.Commands = append(p.Commands, c) }
	event := func() int { p.Events++; return p.Events }
	for pass := range p.passes {
		e.pass, e.first = pass, pass*l.micro
		// The event that each stream waits for: it follows the last shared operation
		// whose results the stream reads.
		start := make([]int, p.Streams)
		done := 0 // shared operations
		fork := func() {
			for s := 1; s < p.Streams; s++ {
				if l.after[s] <= done && start[s] == 0 {
					start[s] = event()
					command(Command{Stream: 0, Record: start[s]})
				}
			}
		}
		fork()
		entered := make([]bool, p.Streams)
		for _, o := range p.Operations {
			if o.Stream != 0 && !entered[o.Stream] {
				entered[o.Stream] = true
				command(Command{Stream: o.Stream, Wait: start[o.Stream]})
			}
			e.op, e.stream, e.scratch = o, o.Stream, p.scratch[o.Stream].At
			o.emit(e)
			if o.owner < 0 {
				done++
				fork()
			}
			p.MACs += o.macs
		}
		for learner, s := range l.streamOf {
			e.op, e.stream, e.scratch = nil, s, p.scratch[s].At
			if last != nil {
				last(e, learner)
			}
		}
		for s := 1; s < p.Streams; s++ {
			join := event()
			command(Command{Stream: s, Record: join})
			command(Command{Stream: 0, Wait: join})
		}
	}
}
