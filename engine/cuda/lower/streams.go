package lower

import (
	"slices"
)

// streams orders the operations and puts them on streams: what several learners
// need comes first and goes to stream 0; what one learner needs follows on a
// stream of its own. The learner that reads the most of what is shared goes on
// on stream 0, which has just computed it.
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
	reads := make([]int, p.Streams) // 1 + the last shared operation that a learner reads
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

// emit writes the commands of all passes and of what follows them.
func (l *lowering) emit(last func(e *emitter, learner int)) {
	p := l.program
	e := &emitter{program: p}
	command := func(c Command) { p.Commands = append(p.Commands, c) }
	event := func() int { p.Events++; return p.Events }
	for pass := range p.passes {
		e.pass, e.first = pass, pass*l.micro
		// Where each stream leaves stream 0: behind the last operation there
		// that it reads.
		leave := make([]int, p.Streams)
		at := 0
		fork := func() {
			for s := 1; s < p.Streams; s++ {
				if l.after[s] <= at && leave[s] == 0 {
					leave[s] = event()
					command(Command{Stream: 0, Record: leave[s]})
				}
			}
		}
		fork()
		entered := make([]bool, p.Streams)
		for _, o := range p.Operations {
			if o.Stream != 0 && !entered[o.Stream] {
				entered[o.Stream] = true
				command(Command{Stream: o.Stream, Wait: leave[o.Stream]})
			}
			e.op, e.stream, e.scratch = o, o.Stream, p.scratch[o.Stream].At
			o.emit(e)
			if o.owner < 0 {
				at++
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
