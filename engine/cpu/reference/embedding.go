package reference

import "hatchery/engine/nn"

func patchify[T Float](y, images []T, k nn.Patchify) {
	side, o := k.Size/k.Patch, 0
	for b := range k.B {
		for py := range side {
			for px := range side {
				for c := range k.Channels {
					for r := range k.Patch {
						o += copy(y[o:], images[((b*k.Channels+c)*k.Size+py*k.Patch+r)*k.Size+px*k.Patch:][:k.Patch])
					}
				}
			}
		}
	}
}

func tokens[T Float](y, x, cls, pos []T, k nn.TokensForward) {
	n := (k.N + 1) * k.C
	for b := range k.B {
		row := y[b*n:][:n]
		copy(row, cls)
		copy(row[k.C:], x[b*k.N*k.C:][:k.N*k.C])
		for i := range row {
			row[i] += pos[i]
		}
	}
}

func tokensBackward[T Float](dx, dcls, dpos, dy []T, k nn.TokensBackward) {
	n := (k.N + 1) * k.C
	clear(dcls)
	clear(dpos)
	for b := range k.B {
		row := dy[b*n:][:n]
		if dx != nil {
			copy(dx[b*k.N*k.C:][:k.N*k.C], row[k.C:])
		}
		for i := range dcls {
			dcls[i] += row[i]
		}
		for i := range dpos {
			dpos[i] += row[i]
		}
	}
}

func classToken[T Float](y, x []T, k nn.ClassToken) {
	for b := range k.B {
		copy(y[b*k.C:][:k.C], x[b*k.N*k.C:])
	}
}

func classTokenBackward[T Float](dx, dy []T, k nn.ClassTokenBackward) {
	clear(dx)
	for b := range k.B {
		copy(dx[b*k.N*k.C:][:k.C], dy[b*k.C:])
	}
}
