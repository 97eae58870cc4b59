package limits

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// system is the root file system of a machine.
type system struct{ fs.FS }

// read returns the text of the file at an absolute path, "" if it cannot be read.
func (s system) read(name string) string {
	data, err := fs.ReadFile(s, strings.TrimPrefix(path.Clean(name), "/"))
	if err != nil {
		return ""
	}
	return string(data)
}

// cgroups holds the folders of a controller's cgroups: first this process's cgroup, then
// its visible ancestors.
type cgroups struct {
	dirs    []string
	version int // 1 or 2
}

// find returns the cgroups of a controller, "memory" or "cpu". If a system has hierarchies
// of both versions, the controller is in one of them.
func (s system) find(controller string) (cgroups, bool) {
	cgroup, version, ok := cgroupOf(s.read("/proc/self/cgroup"), controller)
	if !ok {
		return cgroups{}, false
	}
	m, ok := mountOf(s.read("/proc/self/mountinfo"), controller, version, cgroup)
	if !ok {
		return cgroups{}, false
	}
	below, ok := relativeTo(cgroup, m.root)
	if !ok {
		// In a container with its own cgroup namespace, the hierarchy may be mounted
		// from outside. Then the mounted folder is the nearest visible one.
		below = ""
	}
	c := cgroups{version: version}
	for dir := path.Join(m.point, below); ; dir = path.Dir(dir) {
		c.dirs = append(c.dirs, dir)
		if dir == m.point || len(dir) <= len(m.point) {
			return c, true
		}
	}
}

// cgroupOf returns the path of a controller's cgroup from the text of /proc/self/cgroup. Its
// lines are "4:cpu,cpuacct:/path" for a hierarchy of version 1 and "0::/path" for version 2.
func cgroupOf(text, controller string) (cgroup string, version int, ok bool) {
	for line := range strings.Lines(text) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(fields) != 3 {
			continue
		}
		switch names := strings.Split(fields[1], ","); {
		case fields[0] == "0" && fields[1] == "":
			if version == 0 {
				cgroup, version = fields[2], 2
			}
		default:
			if slices.Contains(names, controller) {
				cgroup, version = fields[2], 1
			}
		}
	}
	// The suffix is added if the cgroup was deleted while the process was in it.
	return strings.TrimSuffix(cgroup, " (deleted)"), version, version != 0
}

// mount is a mount of a cgroup hierarchy: the cgroup root is mounted at point.
type mount struct{ root, point string }

// mountOf returns the mount of a controller's hierarchy from the text of
// /proc/self/mountinfo, preferably one that contains the given cgroup. The lines are
//
//	36 35 0:30 /root /mount/point rw,relatime shared:1 - cgroup cgroup rw,memory
//
// with any number of fields before the hyphen.
func mountOf(text, controller string, version int, cgroup string) (best mount, ok bool) {
	for line := range strings.Lines(text) {
		before, after, found := strings.Cut(strings.TrimSuffix(line, "\n"), " - ")
		mountFields, fsFields := strings.Fields(before), strings.Fields(after)
		if !found || len(mountFields) < 6 || len(fsFields) < 3 {
			continue
		}
		switch fsFields[0] {
		case "cgroup2":
			if version != 2 {
				continue
			}
		case "cgroup":
			if version != 1 || !slices.Contains(strings.Split(fsFields[2], ","), controller) {
				continue
			}
		default:
			continue
		}
		m := mount{root: unescape(mountFields[3]), point: unescape(mountFields[4])}
		if _, shows := relativeTo(cgroup, m.root); shows {
			return m, true
		}
		if !ok {
			best, ok = m, true
		}
	}
	return best, ok
}

// relativeTo returns the path of a cgroup relative to a root, and false if the cgroup is
// not below the root.
func relativeTo(cgroup, root string) (string, bool) {
	if strings.HasPrefix(cgroup, "/..") { // outside the process's cgroup namespace
		return "", false
	}
	if root == "/" {
		return cgroup, true
	}
	below, ok := strings.CutPrefix(cgroup, root)
	return below, ok && (below == "" || below[0] == '/')
}

// unescape decodes octal escapes such as \040 in a path of /proc/self/mountinfo.
func unescape(s string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, `\`)
		b.WriteString(before)
		if !found {
			return b.String()
		}
		if len(after) >= 3 {
			if c, err := strconv.ParseUint(after[:3], 8, 8); err == nil {
				b.WriteByte(byte(c))
				s = after[3:]
				continue
			}
		}
		b.WriteByte('\\')
		s = after
	}
}

// unlimited is the smallest value that means no limit. Version 1 shows no limit as the
// largest int64, rounded down to whole pages.
const unlimited = 1 << 62

// memory returns the memory limits of this process's cgroups. held is the memory that the
// process already uses, in bytes. A cgroup counts cached files as used, but the kernel
// evicts them when memory is needed, so they are subtracted.
func (s system) memory(held int64) []Memory {
	c, ok := s.find("memory")
	if !ok {
		return nil
	}
	var all []Memory
	add := func(limit, used int64, file, dir string) {
		all = append(all, Memory{
			Bytes: min(limit, max(0, limit-used)+held),
			From:  fmt.Sprintf("%s = %d of %s, a cgroup v%d", file, limit, dir, c.version),
			Raise: "give the container or job more memory (docker --memory, Slurm --mem, systemd MemoryMax)",
		})
	}
	for i, dir := range c.dirs {
		usage, cached, limits := "memory.current", "inactive_file", []string{"memory.max", "memory.high"}
		if c.version == 1 {
			usage, cached, limits = "memory.usage_in_bytes", "total_inactive_file", []string{"memory.limit_in_bytes"}
		}
		if c.version == 1 && i > 0 && strings.TrimSpace(s.read(path.Join(dir, "memory.use_hierarchy"))) == "0" {
			continue // this cgroup does not count the memory of its descendants
		}
		stat := s.read(path.Join(dir, "memory.stat"))
		used, _ := number(s.read(path.Join(dir, usage)))
		used = max(0, used-field(stat, cached))
		for _, file := range limits {
			if limit, ok := number(s.read(path.Join(dir, file))); ok && limit >= 0 && limit < unlimited {
				add(limit, used, file, dir)
			}
		}
		if limit := field(stat, "hierarchical_memory_limit"); c.version == 1 && i == 0 && limit > 0 && limit < unlimited {
			// This includes the limits of ancestors that are not visible. Their usage
			// is unknown.
			add(limit, used, "hierarchical_memory_limit", dir)
		}
	}
	return all
}

// quota returns the tightest CPU quota of this process's cgroups.
func (s system) quota() (tightest CPUQuota, ok bool) {
	c, found := s.find("cpu")
	if !found {
		return tightest, false
	}
	for _, dir := range c.dirs {
		file := "cpu.max"
		var quota, period string
		if c.version == 1 {
			file = "cpu.cfs_quota_us"
			quota, period = s.read(path.Join(dir, file)), s.read(path.Join(dir, "cpu.cfs_period_us"))
		} else {
			quota, period, _ = strings.Cut(s.read(path.Join(dir, file)), " ")
		}
		q, limited := number(quota)
		p, known := number(period)
		if !limited || !known || q <= 0 || p <= 0 {
			continue
		}
		if cores := float64(q) / float64(p); !ok || cores < tightest.Cores {
			tightest, ok = CPUQuota{cores, fmt.Sprintf("%s of %s, a cgroup v%d", file, dir, c.version)}, true
		}
	}
	return tightest, ok
}

// number parses the text of a file with a single number. It returns false for "max".
func number(text string) (int64, bool) {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	return n, err == nil
}

// field returns the number after a name in text with lines of the form "name number", 0 if
// the name is missing.
func field(text, name string) int64 {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			n, _ := number(value)
			return max(0, n)
		}
	}
	return 0
}

// kibibytes returns the value in bytes of a line such as "Name:   12 kB" of a file in /proc,
// 0 if the name is missing.
func kibibytes(text, name string) int64 {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			n, _ := number(strings.TrimSuffix(strings.TrimSpace(value), "kB"))
			return n << 10
		}
	}
	return 0
}
