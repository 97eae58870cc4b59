package runs

import (
	"testing"
	"time"
)

// TestLiveness has a case for every row of the table of ReadLiveness, named by its number,
// and some variants.
func TestLiveness(t *testing.T) {
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	// Process 7 of this machine started at tick 50; there is no other.
	start := func(pid int) uint64 {
		if pid == 7 {
			return 50
		}
		return 0
	}
	mine, other := FolderID{1, 2}, FolderID{1, 3}
	good := Status{Phase: Running, PID: 7, Process: Process{"b", "n", 50}, Host: "h", Heartbeat: now.Add(-2 * time.Second), Folder: mine}

	phase := func(p Phase) func(*Status) { return func(s *Status) { s.Phase = p } }
	old := func(s *Status) { s.Heartbeat = now.Add(-42 * time.Second) }
	gone := func(s *Status) { s.PID = 8 }
	copied := func(s *Status) { s.Folder = other }
	unlocked := func(s *Status) { s.Unlocked = true }
	noFolder := func(s *Status) { s.Folder = FolderID{} }
	container := func(s *Status) { s.Process.Namespace, s.PID = "m", 8 }
	otherName := func(s *Status) { s.Host = "container" }
	reboot := func(s *Status) { s.Process.Boot, s.PID = "a", 8 }
	otherHost := func(s *Status) { s.Host, s.Process.Boot, s.PID = "i", "a", 8 }
	noProc := func(s *Status) { s.Process = Process{} }
	does := func(all ...func(*Status)) []func(*Status) { return all }

	const unknown, free, held = lockUnknown, lockFree, lockHeld
	for _, c := range []struct {
		name   string
		lock   lockState
		change []func(*Status)
		want   string
	}{
		{"1 ended", held, does(phase(Stopped), gone), "interrupted"},
		{"1 done long ago", free, does(phase(Finished), otherHost, old, copied), "done"},

		{"2 held, fresh", held, does(), "running"},
		{"2 held, paused", held, does(phase(Paused)), "paused"},
		{"2 held, of another container", held, does(container), "running"},
		{"2 held, of another host", held, does(otherHost), "running"},
		{"2 held, of another boot", held, does(reboot), "running"},
		{"2 held by a process that has no status yet", held, does(gone), "running"},
		{"2 a copy that another process has opened", held, does(copied), "running"},
		{"3 held, old", held, does(old), "stalled 42s"},
		{"3 held, old, of another container", held, does(container, old), "stalled 42s"},
		{"3 held, old, of another boot", held, does(reboot, old), "stalled 42s"},

		{"4 copy, free", free, does(copied), "crashed"},
		{"4 copy, unknown", unknown, does(copied), "crashed"},
		{"4 copy of a folder without locks", unknown, does(copied, unlocked), "crashed"},
		{"4 copy of another container's", free, does(copied, container), "crashed"},
		{"4 copy of another host's, fresh", free, does(copied, otherHost), "running"},
		{"4 copy of another host's, old", free, does(copied, otherHost, old), "crashed"},
		{"other device numbers on another host", unknown, does(func(s *Status) { s.Folder.Device = 9 }, otherHost, old), "stalled 42s"},

		{"5 gone, free", free, does(gone), "crashed"},
		{"5 gone, unknown", unknown, does(gone), "crashed"},
		{"5 gone while it was paused", free, does(gone, phase(Paused)), "crashed"},
		{"5 pid used again", unknown, does(func(s *Status) { s.Process.Start = 49 }), "crashed"},

		{"6 there, but its folder's lock is free", free, does(), "crashed"},
		{"6 and its status is of an older version", free, does(noFolder), "crashed"},
		{"7 there, no locks", unknown, does(unlocked), "running"},
		{"7 there, and a free lock tells nothing where there are none", free, does(unlocked), "running"},
		{"7 there, lock unreadable", unknown, does(), "running"},
		{"7 heartbeat to come", unknown, does(func(s *Status) { s.Heartbeat = now.Add(time.Hour) }), "running"},
		{"8 there, old", unknown, does(old), "stalled 42s"},
		{"8 paused and silent", unknown, does(phase(Paused), old), "stalled 42s"},

		{"9 container, free, fresh", free, does(container), "running"},
		{"9 container with a hostname of its own", free, does(container, otherName), "running"},
		{"10 dead container", free, does(container, old), "crashed"},
		{"10 dead container with a hostname of its own", free, does(container, otherName, old), "crashed"},
		{"10 and its status is of an older version", free, does(container, noFolder, old), "crashed"},
		{"11 container, unknown, fresh", unknown, does(container), "running"},
		{"11 container, no locks, fresh", free, does(container, unlocked), "running"},
		{"12 container, unknown, old", unknown, does(container, old), "stalled 42s"},
		{"12 container, no locks, old", free, does(container, unlocked, old), "stalled 42s"},

		{"13 another machine of this name, free", free, does(reboot), "running"},
		{"13 another machine of this name, unknown", unknown, does(reboot), "running"},
		{"14 machine restarted, free", free, does(reboot, old), "crashed"},
		{"14 machine restarted, unknown", unknown, does(reboot, old), "crashed"},

		{"15 other host, free", free, does(otherHost), "running"},
		{"15 other host, unknown", unknown, does(otherHost), "running"},
		{"15 writer without /proc", unknown, does(noProc), "running"},
		{"16 other host, free, old", free, does(otherHost, old), "stalled 42s"},
		{"16 other host, unknown, old", unknown, does(otherHost, old), "stalled 42s"},
		{"16 writer without /proc, old", free, does(noProc, old), "stalled 42s"},
	} {
		s := good
		for _, change := range c.change {
			change(&s)
		}
		e := evidence{now: now, host: "h", self: Process{Boot: "b", Namespace: "n", Start: 100}, start: start, lock: c.lock, folder: mine}
		if got := e.judge(s).String(); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	s := good
	s.PID = 8
	e := evidence{now: now, host: "h", start: func(int) uint64 { return 0 }, lock: lockUnknown, folder: mine}
	if got := e.judge(s).String(); got != "running" {
		t.Errorf("reader without /proc: %s, want running", got)
	}
}
