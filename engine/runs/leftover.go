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

// A killed process leaves unfinished files behind. The next process that creates a run
// removes those in the folder of runs; the next process that opens a run removes those in
// the run's folder.

// deletedPrefix is the prefix of the folder name of a run that is being deleted.
const deletedPrefix = ".deleted-"

// DeletedPath returns the path to which the folder of a run is renamed before it is
// deleted. A folder with that name is no longer a run. If the deleting process is killed,
// another process finishes its work.
func DeletedPath(dir string) string {
	return filepath.Join(filepath.Dir(dir), deletedPrefix+filepath.Base(dir))
}

// makeStaging creates the folder ".<id>-<number>" in root, in which a run is created.
func makeStaging(root, id string) (string, error) {
	for {
		path := filepath.Join(root, fmt.Sprintf(".%s-%d", id, rand.Uint32()))
		if err := os.Mkdir(path, dirMode); !os.IsExist(err) {
			return path, err
		}
	}
}

const (
	// stagingTimeout is the longest time that a process needs from creating a folder to
	// locking it.
	stagingTimeout = time.Minute
	// unlockedFor is the age at which a folder is removed if there are no locks.
	unlockedFor = 24 * time.Hour
)

// collect removes, from the folder of runs, runs that a process was creating or deleting
// when it was killed. It ignores errors.
func (l locking) collect(root string, now time.Time) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return
	}
	for _, e := range entries {
		path := filepath.Join(root, e.Name())
		info, err := e.Info()
		if err != nil || !e.IsDir() || now.Sub(info.ModTime()) < stagingTimeout {
			continue
		}
		deleted := strings.HasPrefix(e.Name(), deletedPrefix)
		if !deleted && !isStaging(path) {
			continue
		}
		lock := l.inspect(filepath.Join(path, lockFile))
		if lock == lockFree || lock == lockUnknown && now.Sub(info.ModTime()) > unlockedFor {
			os.RemoveAll(path)
		}
	}
}

// isStaging reports whether a folder was created by makeStaging: it has such a name and
// contains only files of a new run.
func isStaging(path string) bool {
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
	// A new run has no events.
	info, err := os.Stat(filepath.Join(path, eventsFile))
	return err != nil || info.Size() == 0
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// isOldTemp reports whether name is the name that older versions of hatchery used for a
// temporary file of target.
func isOldTemp(name, target string) bool {
	number, ok := strings.CutPrefix(name, "."+target)
	return ok && isNumber(number)
}

// clearFolder removes temporary files of earlier processes from a run's folder. Only the
// writer may call it. If there are no locks, it keeps recent files, which may belong to
// another process.
func (r *Run) clearFolder() {
	sweep := func(dir string, isLeftover func(name string) bool) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return
		}
		for _, e := range entries {
			if !e.Type().IsRegular() || !isLeftover(e.Name()) {
				continue
			}
			info, err := e.Info()
			if err == nil && (!r.status.Unlocked || time.Since(info.ModTime()) > stagingTimeout) {
				r.disk.remove(filepath.Join(dir, e.Name())) // if this fails, the file will be replaced later
			}
		}
	}
	isTemp := func(name string) bool { return strings.HasSuffix(name, ".tmp") }
	sweep(r.dir, func(name string) bool {
		return strings.HasPrefix(name, "status.") && isTemp(name) || isOldTemp(name, statusFile)
	})
	sweep(filepath.Join(r.dir, attemptsDir), func(name string) bool {
		i := strings.LastIndex(name, ".json")
		return strings.HasSuffix(name, statusTemp) || name[0] == '.' && i > 0 && isNumber(name[i+len(".json"):])
	})
	stages, err := os.ReadDir(filepath.Join(r.dir, stagesDir))
	if err != nil {
		return
	}
	for _, s := range slices.DeleteFunc(stages, func(s os.DirEntry) bool { return !s.IsDir() }) {
		sweep(stageDir(r.dir, s.Name()), func(name string) bool { return isTemp(name) || isOldTemp(name, doneName) })
	}
}
