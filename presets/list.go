package presets

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Info describes a preset in a list.
type Info struct {
	Name     string
	Title    string
	Source   string // of the paper's numbers, "Table 2, DeiT-T-32"; empty if not from the paper
	Abstract bool   // only a base for others, which Load refuses
	Missing  string // Config.Missing as text: features that are not built
	Record   bool   // only the paper's numbers without a model, which Load refuses
}

// List describes the presets that are part of the program, sorted by name.
func List() ([]Info, error) {
	var all []Info
	for _, name := range names() {
		chain, err := readChain(name)
		if err != nil {
			return nil, err
		}
		info := Info{Name: name}
		l := chain[len(chain)-1].layer
		info.Title = l.text("title")
		if s, ok := l["abstract"]; ok {
			info.Abstract = s.value.Bool()
		}
		info.Record = !info.Abstract
		for _, f := range chain { // the last value wins
			if s, ok := f.layer["missing"]; ok {
				info.Missing = strings.Join(s.value.Interface().([]string), ", ")
			}
			if _, ok := f.layer["model.width"]; ok {
				info.Record = false
			}
		}
		if s, ok := l["paper"]; ok && s.value.Len() > 0 {
			info.Source = s.value.Index(0).Interface().(PaperValue).Source
		}
		all = append(all, info)
	}
	return all, nil
}

// Source returns the text of an embedded preset, with its comments.
func Source(name string) (string, error) {
	if slices.Contains(names(), name) {
		src, err := embedded.ReadFile(name + ".toml")
		return string(src), err
	}
	if near := Nearest(name, names()); near != "" {
		return "", fmt.Errorf("no preset %q; did you mean %s? (a file's path ends in .toml)", name, near)
	}
	return "", fmt.Errorf("no preset %q; the presets are %s (a file's path ends in .toml)", name, strings.Join(names(), ", "))
}

// names returns the names of the embedded presets, sorted.
func names() []string {
	entries, err := embedded.ReadDir(".")
	if err != nil {
		return nil // cannot happen: the folder is embedded
	}
	all := make([]string, len(entries))
	for i, e := range entries {
		all[i] = strings.TrimSuffix(e.Name(), path.Ext(e.Name()))
	}
	slices.Sort(all) // "a" comes before "a-b", whose file comes before "a.toml"
	return all
}

// loadable returns the names of the presets that Load accepts.
func loadable() []string {
	list, err := List()
	if err != nil {
		return names()
	}
	var all []string
	for _, info := range list {
		if !info.Abstract && !info.Record {
			all = append(all, info.Name)
		}
	}
	return all
}
