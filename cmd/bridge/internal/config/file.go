package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// maxFile is far more than all settings can need, in bytes.
const maxFile = 1 << 20

// given is one key of a file with its values.
type given struct {
	option *Option
	values []value
}

// file merges the file called name.
func (m *merger) file(name string) {
	data, err := readFile(name)
	if err != nil {
		m.errors = append(m.errors, &Error{Key: "config", Text: fmt.Sprintf("cannot read %q: %v; want a YAML file", name, bare(err))})
		return
	}
	settings, errs := parseFile(name, data)
	m.errors = append(m.errors, errs...)
	for _, g := range settings {
		m.apply(g.option, g.values)
	}
}

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("longer than %d bytes", maxFile)
	}
	return data, err
}

// parseFile returns the settings in data, the content of the file called name, and
// every syntax error.
func parseFile(name string, data []byte) ([]given, Errors) {
	p := fileParser{name: name, options: map[string]*Option{}, seen: map[string]int{}}
	for _, o := range Options() {
		p.options[o.Name] = o
		p.names = append(p.names, o.Name)
	}
	p.document(data)
	return p.given, p.errors
}

type fileParser struct {
	name    string
	options map[string]*Option
	names   []string

	seen   map[string]int // key to its first line
	given  []given
	errors Errors
}

func (p *fileParser) wrong(line int, key, text string) {
	p.errors = append(p.errors, &Error{Place: p.place(line), Key: key, Text: text, line: line})
}

func (p *fileParser) place(line int) string { return fmt.Sprintf("%s:%d", p.name, line) }

func (p *fileParser) document(data []byte) {
	if valid := validPrefix(data); len(valid) < len(data) {
		p.wrong(1+bytes.Count(valid, []byte("\n")), "", "not UTF-8")
		return
	}
	var doc, second yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	err := decoder.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return // empty, or nothing but comments
	}
	if err != nil {
		p.syntax(err)
		return
	}
	p.root(doc.Content[0])
	switch err := decoder.Decode(&second); {
	case errors.Is(err, io.EOF):
	case err != nil:
		p.syntax(err)
	default:
		p.wrong(second.Line, "", "a second YAML document, want one")
	}
}

// validPrefix returns data up to the first byte that is not UTF-8.
func validPrefix(data []byte) []byte {
	valid := 0
	for valid < len(data) {
		r, size := utf8.DecodeRune(data[valid:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		valid += size
	}
	return data[:valid]
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// syntax reports an error of the YAML package, which has the line only in its
// text, if at all, and counts lines from zero if it expected a token.
func (p *fileParser) syntax(err error) {
	match := yamlLine.FindStringSubmatch(err.Error())
	if match == nil {
		p.errors = append(p.errors, &Error{Place: p.name, Text: "not YAML: " + err.Error()})
		return
	}
	text := err.Error()[len(match[0]):]
	line, _ := strconv.Atoi(match[1])
	if strings.HasPrefix(text, "did not find expected") {
		line++
	}
	if line == 0 {
		p.errors = append(p.errors, &Error{Place: p.name, Text: "not YAML: " + text})
		return
	}
	p.wrong(line, "", "not YAML: "+text)
}

func (p *fileParser) root(root *yaml.Node) {
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return
	}
	if root.Kind != yaml.MappingNode {
		p.wrong(root.Line, "", "want settings, each as key: value")
		return
	}
	for i := 0; i+1 < len(root.Content); i += 2 {
		p.setting(root.Content[i], root.Content[i+1])
	}
}

func (p *fileParser) setting(key, node *yaml.Node) {
	name := key.Value
	option := p.options[name]
	if key.Kind != yaml.ScalarNode {
		p.wrong(key.Line, "", "want a plain key")
		return
	}
	if option == nil {
		p.wrong(key.Line, "", Unknown("key", name, p.names))
		return
	}
	if first, ok := p.seen[name]; ok {
		p.wrong(key.Line, name, fmt.Sprintf("given twice, first in line %d", first))
		return
	}
	p.seen[name] = key.Line

	if node.Kind == yaml.SequenceNode && option.Many {
		g := given{option: option, values: []value{}}
		for _, item := range node.Content {
			if v, ok := p.item(option, item); ok {
				g.values = append(g.values, v)
			}
		}
		p.given = append(p.given, g)
		return
	}
	want := "a single value"
	if option.Many {
		want = "a value or a list of values"
	}
	if v, ok := p.scalar(name, node, want); ok {
		p.given = append(p.given, given{option: option, values: []value{v}})
	}
}

// item reads one value of a list.
func (p *fileParser) item(o *Option, node *yaml.Node) (value, bool) {
	if mapping := resolved(node); o.mapping && mapping.Kind == yaml.MappingNode {
		return value{text: flow(mapping), place: p.place(node.Line), key: o.Name, line: node.Line, node: mapping}, true
	}
	return p.scalar(o.Name, node, "an item")
}

// resolved returns the node behind an alias.
func resolved(node *yaml.Node) *yaml.Node {
	if node.Kind == yaml.AliasNode {
		return node.Alias
	}
	return node
}

// scalar reads one value. want describes what else is accepted.
func (p *fileParser) scalar(key string, node *yaml.Node, want string) (value, bool) {
	line := node.Line
	node = resolved(node)
	if node.Kind != yaml.ScalarNode || node.Tag == "!!null" {
		p.wrong(line, key, "not a plain value, want "+want)
		return value{}, false
	}
	return value{text: node.Value, place: p.place(line), key: key, line: line}, true
}
