package launch

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/user"
	"path"
	"slices"
	"strings"
)

// LogoutWarning returns a warning, with a remedy, if the system would kill a background run
// when its user logs out. It returns "" if that is not known to happen.
func LogoutWarning() string {
	u, err := user.Current()
	if err != nil || !logoutKills(os.DirFS("/"), u.Username) {
		return ""
	}
	return "when you log out, this system kills all your processes (KillUserProcesses=yes in logind.conf), including the run; " +
		"to prevent that: loginctl enable-linger, and start hatchery with: systemd-run --user --scope hatchery ..."
}

// logoutKills reports whether systemd-logind kills this process when the user's session ends
// (logind.conf(5)). It kills the processes in the session's scope, even after setsid.
func logoutKills(root fs.FS, username string) bool {
	groups, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil || !bytes.Contains(groups, []byte("/session-")) {
		return false
	}
	settings := map[string]string{"KillUserProcesses": "no", "KillExcludeUsers": "root"}
	for _, file := range logindFiles(root) {
		text, err := fs.ReadFile(root, file)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
				settings[strings.TrimSpace(key)] = strings.TrimSpace(value)
			}
		}
	}
	if !slices.Contains([]string{"yes", "true", "on", "1"}, strings.ToLower(settings["KillUserProcesses"])) {
		return false
	}
	if slices.Contains(strings.Fields(settings["KillExcludeUsers"]), username) {
		return false
	}
	users := strings.Fields(settings["KillOnlyUsers"])
	return len(users) == 0 || slices.Contains(users, username)
}

// logindFiles returns logind's configuration files; later ones override earlier ones. They
// are one main file, then the drop-in files sorted by name. Of drop-in files with the same
// name, only that in the first folder counts.
func logindFiles(root fs.FS) []string {
	folders := []string{"etc/systemd", "run/systemd", "usr/local/lib/systemd", "usr/lib/systemd"}
	var files, names []string
	for _, folder := range folders {
		main := path.Join(folder, "logind.conf")
		if _, err := fs.Stat(root, main); !errors.Is(err, fs.ErrNotExist) {
			files = append(files, main)
			break
		}
	}
	from := map[string]string{}
	for _, folder := range folders {
		found, _ := fs.Glob(root, path.Join(folder, "logind.conf.d", "*.conf"))
		for _, file := range found {
			name := path.Base(file)
			if _, overridden := from[name]; !overridden {
				from[name] = file
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	for _, name := range names {
		files = append(files, from[name])
	}
	return files
}
