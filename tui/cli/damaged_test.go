package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hatchery/engine/runs"
)

// TestDamagedEnd damages the final files of a stage in every way and executes the commands
// of the error message. The result must have the same weights, and no other stage may be
// trained again.
func TestDamagedEnd(t *testing.T) {
	flip := func(at func(size int) int) func(path string) error {
		return func(path string) error {
			data, err := os.ReadFile(path)
			if err == nil {
				data[at(len(data))] ^= 1
				err = os.WriteFile(path, data, 0o600)
			}
			return err
		}
	}
	for what, damage := range map[string]func(path string) error{
		"missing":        os.Remove,
		"truncated":      func(path string) error { return os.Truncate(path, 5000) },
		"empty":          func(path string) error { return os.Truncate(path, 0) },
		"a flipped byte": flip(func(size int) int { return size - 100 }),
		"a bad header":   flip(func(int) int { return 9 }),
		"another checkpoint": func(path string) error {
			data, err := os.ReadFile(filepath.Join(filepath.Dir(path), "checkpoint-1.safetensors"))
			if err == nil {
				err = os.WriteFile(path, data, 0o600)
			}
			return err
		},
		"the mark": func(path string) error {
			return os.WriteFile(filepath.Join(filepath.Dir(path), "done"), []byte("{"), 0o600)
		},
	} {
		t.Run(what, func(t *testing.T) {
			s := newShop(t)
			dir := s.finished()
			weights := func(stage string) *runs.Checkpoint {
				c, err := runs.LoadFinal(dir, stage)
				if err != nil {
					t.Fatal(err)
				}
				return c
			}
			meta, module := weights("meta"), s.print(filepath.Join(dir, "stages", "module-1"))
			// Remove the ends of fine-tuning and of module 2, which needs the meta model.
			for _, stage := range []string{"module-2", "assemble", "finetune"} {
				if err := os.RemoveAll(filepath.Join(dir, "stages", stage)); err != nil {
					t.Fatal(err)
				}
			}
			if err := damage(meta.Path); err != nil {
				t.Fatal(err)
			}
			err := (&Resume{RunArg: RunArg{dir}}).Run(t.Context(), s.app)
			if err == nil {
				t.Fatal("no error")
			}
			lines := strings.Split(err.Error(), "\n")
			advice := strings.TrimSpace(lines[len(lines)-1])
			if name := filepath.Base(meta.Path); what != "the mark" && !strings.Contains(lines[0], name) || !strings.HasPrefix(advice, "rm ") {
				t.Fatalf("the error is\n%v", err)
			}
			if what != "the mark" && !strings.Contains(err.Error(), "The stages that were trained with its weights (module-1) can stay") {
				t.Errorf("nothing about module-1 in\n%v", err)
			}
			commands := strings.Split(advice, " && ")
			if last := commands[len(commands)-1]; last != "hatchery resume "+dir {
				t.Fatalf("the last command is %q", last)
			}
			for _, command := range commands[:len(commands)-1] {
				if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil {
					t.Fatalf("%s: %v\n%s", command, err, out)
				}
			}
			s.resume(dir)
			again := weights("meta")
			for i, x := range meta.Tensors {
				if !slices.Equal(x.Data, again.Tensors[i].Data) {
					t.Fatalf("%s has other weights than before", x.Name)
				}
			}
			if s.print(filepath.Join(dir, "stages", "module-1")) != module {
				t.Error("module-1 was trained again")
			}
			weights("finetune")
		})
	}
}

// TestTrainAgain executes the commands of an error message. They must train the stages that
// it names and those that depend on them again, and no others.
func TestTrainAgain(t *testing.T) {
	s := newShop(t)
	s.app.Root = filepath.Join(s.app.Root, "our runs") // which a shell must have quoted
	dir := s.finished()
	kept := s.print(filepath.Join(dir, "stages", "meta"))
	s.edit(dir, "modular.lr=1e-4")
	err := (&Resume{RunArg: RunArg{dir}}).Run(t.Context(), s.app)
	if ExitCode(err) != ExitBadInput {
		t.Fatal(err)
	}
	lines := strings.Split(err.Error(), "\n")
	remove, resume, _ := strings.Cut(strings.TrimSpace(lines[len(lines)-1]), " && ")
	if resume != "hatchery resume '"+dir+"'" {
		t.Errorf("it ends with %q", resume)
	}
	if out, err := exec.Command("sh", "-c", remove).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", remove, err, out)
	}
	left, err := os.ReadDir(filepath.Join(dir, "stages"))
	if err != nil || len(left) != 1 || left[0].Name() != "meta" {
		t.Errorf("left are %v, %v", left, err)
	}
	s.resume(dir)
	if s.print(filepath.Join(dir, "stages", "meta")) != kept {
		t.Error("the meta model was trained again")
	}
}

// TestDamagedBest checks that eval suggests the latest checkpoint if the best one is damaged
// or missing.
func TestDamagedBest(t *testing.T) {
	s := newShop(t)
	dir := s.finished()
	best := filepath.Join(dir, "stages", "meta", "best.safetensors")
	if err := os.Remove(best); err != nil {
		t.Fatal(err)
	}
	if err := (&Eval{RunArg: RunArg{dir}, Stage: "meta", Best: true}).Run(t.Context(), s.app); ExitCode(err) != ExitBadInput || !strings.Contains(err.Error(), "has no best checkpoint before its first evaluation") || !strings.Contains(err.Error(), "omit --best") {
		t.Errorf("code %d, %v", ExitCode(err), err)
	}
	if err := os.WriteFile(best, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := (&Eval{RunArg: RunArg{dir}, Stage: "meta", Best: true}).Run(t.Context(), s.app); ExitCode(err) != ExitBadInput || !strings.Contains(err.Error(), best) || !strings.Contains(err.Error(), "omit --best") {
		t.Errorf("code %d, %v", ExitCode(err), err)
	}
}
