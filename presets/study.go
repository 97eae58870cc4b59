package presets

import (
	"cmp"
	"embed"
	"fmt"
	"io/fs"
	"math"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

//go:embed studies/*.toml
var embeddedStudies embed.FS

const studiesDir = "studies"

// Study is a grid of experiments that answers one question, for example a figure of the
// paper. It consists of series of points; each point is an experiment with one method.
// Studies are stored as JSON under the names of the fields.
type Study struct {
	Name    string   `toml:"-"`       // from its file
	Title   string   `toml:"title"`   // one line for lists
	Source  string   `toml:"source"`  // "Figure 8"; empty if not from the paper
	Notes   string   `toml:"notes"`   // which settings are the paper's and which are our choice
	Says    []string `toml:"says"`    // quotations from the paper, for results that it prints no numbers of
	Measure string   `toml:"measure"` // the y axis: one of the Measure constants
	Against string   `toml:"against"` // the x axis: one of the Against constants
	X       string   `toml:"x"`       // title of the x axis

	Grid
	Small *Grid        `toml:"small"` // a version for a small machine; nil if there is none
	Paper []StudyValue `toml:"paper"` // the numbers that the paper reports
}

// Grid holds the experiments of a study.
type Grid struct {
	Preset string   `toml:"preset"` // that every experiment starts from
	Set    []string `toml:"set"`    // changes to it, "key=value"
	Series []Series `toml:"series"` // the curves
}

// Series is one curve of a study: points of one method.
type Series struct {
	Name   string   `toml:"name"`
	Method string   `toml:"method"` // one of Run.Methods
	Preset string   `toml:"preset"` // instead of the grid's
	Set    []string `toml:"set"`    // changes in addition to the grid's

	// The points are either values of one key, or listed one by one. A series with
	// neither is a single point, drawn as a level to compare with.
	Key    string    `toml:"key"`    // "modules.k"
	Values []any     `toml:"values"` // of the key
	At     []float64 `toml:"at"`     // positions on the x axis; empty: the values
	Points []Point   `toml:"point"`
}

// Point is one experiment of a series.
type Point struct {
	Label string   `toml:"label"`
	At    *float64 `toml:"at"` // position on the x axis; nil for a level
	Set   []string `toml:"set"`
}

// StudyValue is a number that the paper reports for a point of a study.
type StudyValue struct {
	Source string  `toml:"source"` // "section 4.4, table of K"
	Series string  `toml:"series"`
	Point  string  `toml:"point"` // its label; empty for a level
	Value  float64 `toml:"value"` // in the study's measure
}

// Measures of studies.
const (
	MeasureTop1      = "top1"      // accuracy at the end, %
	MeasureAssembled = "assembled" // accuracy before fine-tuning, %
	MeasureGain      = "gain"      // of each module, in points over the meta model
	MeasureCurve     = "curve"     // accuracy after each epoch of the target model's training, %
)

// MeasureTitle returns the name of the study's measure, with its unit.
func (s *Study) MeasureTitle() string {
	switch s.Measure {
	case MeasureAssembled:
		return "top-1 before fine-tuning, %"
	case MeasureGain:
		return "gain in top-1, points"
	}
	return "top-1, %"
}

// The x axes of studies.
const (
	AgainstValue      = "value"      // Series.At
	AgainstHours      = "hours"      // measured training time
	AgainstProportion = "proportion" // measured share of modular training in the training time, %
	AgainstModule     = "module"     // of MeasureGain
	AgainstEpoch      = "epoch"      // of MeasureCurve
)

// axesOf lists the x axes that each measure can be plotted against.
var axesOf = map[string][]string{
	MeasureTop1:      {AgainstValue, AgainstHours, AgainstProportion},
	MeasureAssembled: {AgainstValue, AgainstHours, AgainstProportion},
	MeasureGain:      {AgainstModule},
	MeasureCurve:     {AgainstEpoch},
}

// Cell is one experiment of a study: a preset that is not yet loaded, and all changes to
// it.
type Cell struct {
	Series, Label string
	At            *float64
	Method        string
	Preset        string
	Set           []string // for Load
}

// ID returns a name of the cell that is unique within its study and valid as a file name.
func (c Cell) ID() string {
	text := c.Series
	if c.Label != "" {
		text += "-" + c.Label
	}
	id := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '.', r == '+':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '-'
	}, text)
	for strings.Contains(id, "--") {
		id = strings.ReplaceAll(id, "--", "-")
	}
	return strings.Trim(strings.ReplaceAll(id, "+", "-"), "-.")
}

// maxCellID limits the bytes of a cell's ID. It leaves room for suffixes in file names.
const maxCellID = 200

// Cells returns the experiments of a grid, series by series. The user's changes, sets,
// are applied after the grid's, and before those of the series and the points.
func (g Grid) Cells(sets []string) []Cell {
	var cells []Cell
	for _, s := range g.Series {
		base := s.Preset
		if base == "" {
			base = g.Preset
		}
		for _, p := range s.points() {
			all := slices.Concat(g.Set, sets, []string{"run.methods=" + s.Method}, s.Set, p.Set)
			cells = append(cells, Cell{Series: s.Name, Label: p.Label, At: p.At, Method: s.Method, Preset: base, Set: all})
		}
	}
	return cells
}

func (s Series) points() []Point {
	if s.Key == "" {
		if len(s.Points) == 0 {
			return []Point{{}}
		}
		return s.Points
	}
	var points []Point
	for i, v := range s.Values {
		p := Point{Label: fmt.Sprint(v), Set: []string{fmt.Sprintf("%s=%v", s.Key, v)}}
		switch x, err := strconv.ParseFloat(p.Label, 64); {
		case i < len(s.At):
			p.At = &s.At[i]
			p.Label = strconv.FormatFloat(s.At[i], 'g', -1, 64)
		case err == nil:
			p.At = &x
		}
		points = append(points, p)
	}
	return points
}

// LoadStudy reads a study: the name of an embedded one, or the path of a TOML file. It
// does not load the experiments.
func LoadStudy(nameOrPath string) (*Study, error) {
	shown, dir := nameOrPath, ""
	var src string
	if isPath(nameOrPath) {
		path := nameOrPath
		if strings.HasPrefix(path, "~") {
			var err error
			if path, err = Absolute(path, ""); err != nil {
				return nil, err
			}
		}
		text, err := readFile(path)
		if err != nil {
			return nil, fmt.Errorf("reading the study: %w", err)
		}
		src, dir = text, filepath.Dir(path)
	} else {
		text, err := StudySource(nameOrPath)
		if err != nil {
			return nil, err
		}
		src, shown = text, path.Join("presets", studiesDir, nameOrPath+".toml")
	}
	s, err := parseStudy(shown, src)
	if err != nil {
		return nil, err
	}
	s.Name = nameOf(nameOrPath)
	for _, g := range s.grids() {
		if err := g.resolve(dir); err != nil {
			return nil, fmt.Errorf("%s: %w", shown, err)
		}
	}
	return s, nil
}

func (s *Study) grids() []*Grid {
	if s.Small == nil {
		return []*Grid{&s.Grid}
	}
	return []*Grid{&s.Grid, s.Small}
}

// resolve makes paths absolute that are relative to the study's folder dir: those of
// presets, and those in the study's changes.
func (g *Grid) resolve(dir string) (err error) {
	preset := func(name *string) {
		if isPath(*name) && err == nil {
			*name, err = Absolute(*name, dir)
		}
	}
	changes := func(sets *[]string) {
		if err == nil {
			*sets, err = anchorSets(*sets, dir)
		}
	}
	preset(&g.Preset)
	changes(&g.Set)
	for i := range g.Series {
		s := &g.Series[i]
		preset(&s.Preset)
		changes(&s.Set)
		if IsPath(s.Key) { // the labels of its points do not change
			s.Points, s.Key, s.Values, s.At = s.points(), "", nil, nil
		}
		for j := range s.Points {
			changes(&s.Points[j].Set)
		}
	}
	return err
}

// parseStudy reads a study's file; shown names it in errors.
func parseStudy(shown, src string) (*Study, error) {
	if err := checkDepth(shown, src); err != nil {
		return nil, err
	}
	var s Study
	meta, err := toml.Decode(src, &s)
	if err != nil {
		return nil, syntaxError(shown, src, err)
	}
	lines := keyLines(src)
	var problems Problems
	fail := func(key, reason, hint string) {
		where := shown
		if n := lines[key]; n > 0 {
			where = fmt.Sprintf("%s:%d", shown, n)
		}
		problems = append(problems, Problem{Where: where, Key: key, Reason: reason, Hint: hint})
	}
	for _, key := range meta.Undecoded() {
		fail(key.String(), "unknown key", "")
	}
	if s.Measure == "" {
		s.Measure = MeasureTop1
	}
	axes, ok := axesOf[s.Measure]
	if !ok {
		fail("measure", fmt.Sprintf("unknown measure %q", s.Measure), Suggest(s.Measure, []string{MeasureTop1, MeasureAssembled, MeasureGain, MeasureCurve}))
	} else if s.Against == "" {
		s.Against = axes[0]
	} else if !slices.Contains(axes, s.Against) {
		fail("against", fmt.Sprintf("%s cannot be plotted against %q", s.Measure, s.Against), Suggest(s.Against, axes))
	}
	if s.Title == "" {
		fail("title", "missing", "set it to one line, which lists of studies show")
	}
	for i, g := range s.grids() {
		g.check(fail, []string{"", "small."}[i])
	}
	for i, p := range s.Paper {
		if !s.has(p) {
			fail(elementKey("paper", i), fmt.Sprintf("the study has no point %q in a series %q", p.Point, p.Series), "the paper's number must belong to a point of the study")
		}
		if p.Source == "" || !finite(p.Value) {
			fail(elementKey("paper", i), "source and value are needed", "")
		}
	}
	return &s, problems.err()
}

func (s *Study) has(v StudyValue) bool {
	return slices.ContainsFunc(s.Cells(nil), func(c Cell) bool { return c.Series == v.Series && c.Label == v.Point })
}

func (g *Grid) check(fail func(key, reason, hint string), table string) {
	if g.Preset == "" && slices.ContainsFunc(g.Series, func(s Series) bool { return s.Preset == "" }) {
		fail(table+"preset", "missing", "name the preset that every experiment starts from")
	}
	if len(g.Series) == 0 {
		fail(table+"series", "missing", "a study needs at least one [["+table+"series]]")
	}
	for i, s := range g.Series {
		key := elementKey(table+"series", i)
		switch {
		case s.Name == "" || s.Method == "":
			fail(key, "name and method are needed", "")
		case s.Key != "" && len(s.Points) > 0, s.Key == "" && len(s.Values) > 0, s.Key != "" && len(s.Values) == 0:
			fail(key, "give either key and values, or points", "")
		case len(s.At) > 0 && len(s.At) != len(s.Values):
			fail(key, fmt.Sprintf("at has %d numbers for %d values", len(s.At), len(s.Values)), "")
		}
		for j, v := range s.Values {
			switch v := v.(type) {
			case float64:
				if !finite(v) {
					fail(key, fmt.Sprintf("value %d is %v", j+1, v), "")
				}
			case int64, string, bool:
			default:
				fail(key, fmt.Sprintf("value %d is %s", j+1, describe(v)), "write arrays and tables as points with a set")
			}
		}
	}
	seen := map[string]bool{}
	for _, c := range g.Cells(nil) {
		switch id := c.ID(); {
		case c.At != nil && !finite(*c.At):
			fail(table+"series", fmt.Sprintf("at is %v for %s", *c.At, id), "omit it for a point without a position on the x axis")
		case id == "" || len(id) > maxCellID:
			fail(table+"series", fmt.Sprintf("the point %q of the series %q does not make a file name", shorten(c.Label), shorten(c.Series)),
				fmt.Sprintf("use letters and digits, at most %d of them", maxCellID))
		case seen[id]:
			fail(table+"series", fmt.Sprintf("two points would be called %s", id), "give them different names or labels")
		default:
			seen[id] = true
		}
	}
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// Studies returns the embedded studies, in the order of the paper's figures.
func Studies() ([]*Study, error) {
	var all []*Study
	for _, name := range studyNames() {
		s, err := LoadStudy(name)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// StudySource returns the text of an embedded study.
func StudySource(name string) (string, error) {
	if slices.Contains(studyNames(), name) {
		src, err := embeddedStudies.ReadFile(path.Join(studiesDir, name+".toml"))
		return string(src), err
	}
	if near := Nearest(name, studyNames()); near != "" {
		return "", fmt.Errorf("no study %q; did you mean %s? (a file's path ends in .toml)", name, near)
	}
	return "", fmt.Errorf("no study %q; the studies are %s (a file's path ends in .toml)", name, strings.Join(studyNames(), ", "))
}

func studyNames() []string {
	entries, err := fs.ReadDir(embeddedStudies, studiesDir)
	if err != nil {
		return nil // cannot happen: the folder is embedded
	}
	all := make([]string, len(entries))
	for i, e := range entries {
		all[i] = strings.TrimSuffix(e.Name(), ".toml")
	}
	slices.SortFunc(all, func(a, b string) int {
		return cmp.Or(cmp.Compare(figure(a), figure(b)), cmp.Compare(a, b))
	})
	return all
}

// figure returns the number in a study's name, such as 4 for "fig4-vit-h". Other names
// get the greatest number, so that they sort last.
func figure(study string) int {
	var n int
	if _, err := fmt.Sscanf(study, "fig%d", &n); err != nil {
		return math.MaxInt
	}
	return n
}
