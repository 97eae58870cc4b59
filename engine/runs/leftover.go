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

// A killed process leaves unfinished files behind. In the folder of runs, the next
// process that creates a run removes them; in a run's folder, the next process that
// opens the run does.

// deletedPrefix begins the name of a run that is being deleted.
const deletedPrefix = ".deleted-"

// DeletedPath is the path to which the folder of a run is renamed before it is
// deleted. Under that name it is no longer a run, and if the deleting process is
// killed, another one continues.
func DeletedPath(dir string) string {
	return filepath.Join(filepath.Dir(dir), deletedPrefix+filepath.Base(dir))
}

// makeBuilding makes the folder in which a run is created, ".<id>-<number>" in root.
func makeBuilding(root, id string) (string, error) {
	for {
		path := filepath.Join(root, fmt.Sprintf(".%s-%d", id, rand.Uint32()))
		if err := os.Mkdir(path, dirMode); !os.IsExist(err) {
			return path, err
		}
	}
}

const (
	// buildingWithin is the most time that a process needs from making a folder to
	// locking it.
	buildingWithin = time.Minute
	// unlockedFor is the age at which a folder is removed if locks cannot be used.
	unlockedFor = 24 * time.Hour
)

// collect removes from the folder of runs those runs that a process was creating or
// deleting when it ended. It ignores errors.
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

// isBuilding reports whether makeBuilding made a folder, by its name and its
// content, which must be only what a new run has.
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
	// No event has been written.
	info, err := os.Stat(filepath.Join(path, eventsFile))
	return err != nil || info.Size() == 0
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// isOldTemp reports whether name is that of a temporary file of an older version of
// this program for the file called of.
func isOldTemp(name, of string) bool {
	number, ok := strings.CutPrefix(name, "."+of)
	return ok && isNumber(number)
}

// clearFolder removes temporary files of earlier processes from a run's folder.
// Only one process may call it. If there are no locks to ensure that, it leaves
// recent files alone.
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
