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

// LogoutWarning says that a run started here would be killed when its user
// logs out, and what to do; "" if nothing is known to do that.
func LogoutWarning() string {
	u, err := user.Current()
	if err != nil || !logoutKills(os.DirFS("/"), u.Username) {
		return ""
	}
	return "when you log out this system kills all your processes (KillUserProcesses=yes in logind.conf), the run among them; " +
		"to prevent it: loginctl enable-linger, and start hatchery with: systemd-run --user --scope hatchery ..."
}

// logoutKills says whether systemd-logind kills this process when the user's
// session ends (logind.conf(5)). It does so to processes in the session's
// scope, wherever setsid has put them.
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
	only := strings.Fields(settings["KillOnlyUsers"])
	return len(only) == 0 || slices.Contains(only, username)
}

// logindFiles lists logind's configuration in the order in which later files
// overrule earlier ones: one main file, then additions by their names. Of
// files of a name only the first folder's counts.
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
			if _, overruled := from[name]; !overruled {
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
