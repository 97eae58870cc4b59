package runs

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// What a killed process leaves half done is removed by the next one that works
// in its place: in the folder of runs by the next that makes a run there, in a
// run's folder by the next that has it for itself.

// deletedPrefix is before the name of a run that is being deleted.
const deletedPrefix = ".deleted-"

// DeletedPath is what the folder of a run is called while it is deleted: it is
// no run any more, and if the process that deletes it is killed, another goes on.
func DeletedPath(dir string) string {
	return filepath.Join(filepath.Dir(dir), deletedPrefix+filepath.Base(dir))
}

// makeBuilding makes the folder in which a run is made, ".<id>-<number>" in root.
func makeBuilding(root, id string) (string, error) {
	for {
		path := filepath.Join(root, fmt.Sprintf(".%s-%d", id, rand.Uint32()))
		if err := os.Mkdir(path, dirMode); !os.IsExist(err) {
			return path, err
		}
	}
}

const (
	// buildingWithin is how long a process may need from making a folder to
	// locking it.
	buildingWithin = time.Minute
	// unlockedFor is how long what cannot be locked is left alone.
	unlockedFor = 24 * time.Hour
)

// collect removes from the folder of runs what is left of runs that were being
// made or deleted by processes that are gone. What cannot be removed stays.
func (l locking) collect(root string, now time.Time) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return
	}
	for _, e := range entries {
		path := filepath.Join(root, e.Name())
		info, err := e.Info()
		if err != nil || !e.IsDir() || now.Sub(info.ModTime()) < buildingWithin {
			continue
		}
		deleted := strings.HasPrefix(e.Name(), deletedPrefix)
		if !deleted && !isBuilding(path) {
			continue
		}
		lock := l.look(filepath.Join(path, lockFile))
		if lock == lockFree || lock == lockUnknown && now.Sub(info.ModTime()) > unlockedFor {
			os.RemoveAll(path)
		}
	}
}

// isBuilding says whether a folder is one of makeBuilding, by its name and by
// what it holds: nothing but what a run has at its beginning.
func isBuilding(path string) bool {
	name, ok := strings.CutPrefix(filepath.Base(path), ".")
	i := strings.LastIndexByte(name, '-')
	if !ok || i < 1 || !isNumber(name[i+1:]) {
		return false
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return false
	}
	for _, e := range entries {
		switch e.Name() {
		case configFile, eventsFile, statusFile, "status" + statusTemp, logFile, lockFile:
		default:
			if !isOldTemp(e.Name(), statusFile) {
				return false
			}
		}
	}
	// Nothing has happened in it.
	info, err := os.Stat(filepath.Join(path, eventsFile))
	return err != nil || info.Size() == 0
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// isOldTemp says whether a file was to become the file of the given name in an
// older version of this program.
func isOldTemp(name, of string) bool {
	number, ok := strings.CutPrefix(name, "."+of)
	return ok && isNumber(number)
}

// clearFolder removes from a run's folder what earlier processes have begun to
// write. Its caller has the folder for itself; where that is not certain, for lack
// of locks, what is young stays.
func (r *Run) clearFolder() {
	clear := func(dir string, left func(name string) bool) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return
		}
		for _, e := range entries {
			if !e.Type().IsRegular() || !left(e.Name()) {
				continue
			}
			info, err := e.Info()
			if err == nil && (!r.status.Unlocked || time.Since(info.ModTime()) > buildingWithin) {
				r.disk.remove(filepath.Join(dir, e.Name())) // if it stays, it is replaced
			}
		}
	}
	temp := func(name string) bool { return strings.HasSuffix(name, ".tmp") }
	clear(r.dir, func(name string) bool {
		return strings.HasPrefix(name, "status.") && temp(name) || isOldTemp(name, statusFile)
	})
	clear(filepath.Join(r.dir, attemptsDir), func(name string) bool {
		i := strings.LastIndex(name, ".json")
		return strings.HasSuffix(name, statusTemp) || name[0] == '.' && i > 0 && isNumber(name[i+len(".json"):])
	})
	stages, err := os.ReadDir(filepath.Join(r.dir, stagesDir))
	if err != nil {
		return
	}
	for _, s := range slices.DeleteFunc(stages, func(s os.DirEntry) bool { return !s.IsDir() }) {
		clear(stageDir(r.dir, s.Name()), func(name string) bool { return temp(name) || isOldTemp(name, doneName) })
	}
}
