package cli

import (
	"context"
	"embed"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/alecthomas/kong"

	"hatchery/datasets"
	"hatchery/engine/method"
	"hatchery/presets"
)

// Help shows a topic or the help of a command.
type Help struct {
	Words []string `arg:"" optional:"" name:"topic" help:"A topic or a command; without it, list the topics."`

	program *kong.Kong
}

func (*Help) Effect() Effect { return Reads }

// AfterApply is called by kong when the command line has been parsed.
func (cmd *Help) AfterApply(parsed *kong.Context) error {
	cmd.program = parsed.Kong
	return nil
}

func (cmd *Help) Run(_ context.Context, a *App) error {
	all, err := topics()
	if err != nil {
		return err
	}
	if len(cmd.Words) == 0 {
		return listTopics(a.Out, all)
	}
	words := strings.Join(cmd.Words, " ")
	i := slices.IndexFunc(all, func(t topic) bool { return t.name == cmd.Words[0] })
	isCommand := findCommand(cmd.program.Model.Node, cmd.Words) != nil
	switch {
	case isCommand && (i < 0 || len(cmd.Words) > 1):
		// With --help, kong does not continue from a group to its default command.
		traced, err := kong.Trace(cmd.program, append(cmd.Words, "--help"))
		if err != nil {
			return err
		}
		return traced.PrintUsage(false)
	case i < 0:
		return badInput{unknownTopic(words, all, cmd.program.Model.Children)}
	}
	var text strings.Builder
	if err := all[i].write(&text, cmd.Words[1:]); err != nil {
		return badInput{err}
	}
	if _, err := io.WriteString(a.Out, text.String()); err != nil {
		return err
	}
	if isCommand {
		fmt.Fprintf(a.Out, "\nFor the command of the same name: hatchery %s --help\n", words)
	}
	return nil
}

// unknownTopic returns the error for a topic that does not exist.
func unknownTopic(words string, all []topic, commands []*kong.Node) error {
	var names []string
	for _, t := range all {
		names = append(names, t.name)
	}
	for _, c := range commands {
		if !c.Hidden {
			names = append(names, c.Name)
		}
	}
	if near := presets.Nearest(words, names); near != "" {
		return fmt.Errorf("there is no help on %q; did you mean %s?", words, near)
	}
	return fmt.Errorf("there is no help on %q; `hatchery help` lists the topics", words)
}

// findCommand returns the command with the given name, or nil if there is none.
func findCommand(node *kong.Node, words []string) *kong.Node {
	for _, word := range words {
		i := slices.IndexFunc(node.Children, func(n *kong.Node) bool { return n.Name == word && !n.Hidden })
		if i < 0 {
			return nil
		}
		node = node.Children[i]
	}
	return node
}

// topic is a text that `hatchery help` shows.
type topic struct {
	name, title string
	write       func(out io.Writer, words []string) error // words are the arguments after the name
}

// generated holds the topics whose text the program generates.
var generated = []topic{
	{"settings", "All settings of an experiment; settings WORD... shows those that contain the words", func(out io.Writer, words []string) error {
		return presets.WriteReference(out, map[string][]string{"run.methods": method.Names(), "data.name": datasets.Names()}, words...)
	}},
}

// texts holds the other topics. The name of a file is the name of the topic, and its first
// line is the title.
//
//go:embed help/*.txt
var texts embed.FS

// topics returns all topics, sorted by name.
func topics() ([]topic, error) {
	all := slices.Clone(generated)
	files, err := texts.ReadDir("help")
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		text, err := texts.ReadFile(path.Join("help", f.Name()))
		if err != nil {
			return nil, err
		}
		name := strings.TrimSuffix(f.Name(), ".txt")
		title, _, _ := strings.Cut(string(text), "\n")
		all = append(all, topic{name, title, func(out io.Writer, words []string) error {
			if len(words) > 0 {
				return fmt.Errorf("the topic %s has no part %q", name, strings.Join(words, " "))
			}
			_, err := out.Write(text)
			return err
		}})
	}
	slices.SortFunc(all, func(a, b topic) int { return strings.Compare(a.name, b.name) })
	return all, nil
}

func listTopics(out io.Writer, all []topic) error {
	fmt.Fprintln(out, "hatchery help TOPIC shows a topic:")
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, t := range all {
		fmt.Fprintf(w, "  %s\t%s\n", t.name, t.title)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(out, "\nhatchery --help lists the commands, hatchery help COMMAND shows one.")
	return nil
}
