package openapi

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
)

// comments are the comments in the sources of types, and the constants that they
// have.
type comments struct {
	root     string
	packages map[string]*source
	err      error
}

// source is what is written in a package.
type source struct {
	about  map[string]string   // by TYPE or TYPE.FIELD
	values map[string][]string // string constants by TYPE, in the order of the source
}

// of returns what is written of a type.
func (c *comments) of(t reflect.Type) string {
	if t.Name() == "" {
		return ""
	}
	about := c.read(t.PkgPath()).about[t.Name()]
	// A sentence that begins with the type's name tells less without Go around it.
	for _, is := range []string{" is ", " are "} {
		if rest, ok := strings.CutPrefix(about, t.Name()+is); ok && rest != "" {
			return strings.ToUpper(rest[:1]) + rest[1:]
		}
	}
	return about
}

// field returns what is written of a struct's field.
func (c *comments) field(t reflect.Type, name string) string {
	return c.read(t.PkgPath()).about[t.Name()+"."+name]
}

// values returns the constants of a type.
func (c *comments) values(t reflect.Type) []string { return c.read(t.PkgPath()).values[t.Name()] }

// read returns a package of this module; of others nothing.
func (c *comments) read(pkg string) *source {
	if s := c.packages[pkg]; s != nil {
		return s
	}
	s := &source{about: map[string]string{}, values: map[string][]string{}}
	if c.packages == nil {
		c.packages = map[string]*source{}
	}
	c.packages[pkg] = s
	dir, ours := strings.CutPrefix(pkg, "vsnat/")
	if !ours {
		return s
	}
	dir = filepath.Join(c.root, filepath.FromSlash(dir))
	files, err := os.ReadDir(dir)
	if err != nil {
		c.err = fmt.Errorf("openapi: the source of %s: %w", pkg, err)
	}
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, f.Name()), nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			c.err = fmt.Errorf("openapi: %w", err)
			continue
		}
		for _, decl := range parsed.Decls {
			if g, ok := decl.(*ast.GenDecl); ok {
				s.declaration(g)
			}
		}
	}
	return s
}

// declaration notes the types and constants of a declaration.
func (s *source) declaration(g *ast.GenDecl) {
	for _, spec := range g.Specs {
		switch spec := spec.(type) {
		case *ast.TypeSpec:
			doc := spec.Doc
			if doc == nil {
				doc = g.Doc
			}
			s.about[spec.Name.Name] = text(doc)
			if st, ok := spec.Type.(*ast.StructType); ok {
				s.fields(spec.Name.Name, st)
			}
		case *ast.ValueSpec:
			name, ok := spec.Type.(*ast.Ident)
			if g.Tok != token.CONST || !ok {
				continue
			}
			for _, v := range spec.Values {
				if lit, ok := v.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					if value, err := strconv.Unquote(lit.Value); err == nil && value != "" {
						s.values[name.Name] = append(s.values[name.Name], value)
					}
				}
			}
		}
	}
}

func (s *source) fields(name string, st *ast.StructType) {
	for _, f := range st.Fields.List {
		about := text(f.Doc)
		if about == "" {
			about = text(f.Comment)
		}
		for _, n := range f.Names {
			s.about[name+"."+n.Name] = about
		}
	}
}

// link is a reference to a name in Go's documentation.
var link = regexp.MustCompile(`\[([A-Za-z.]+)\]`)

// broken are line ends within a paragraph.
var broken = regexp.MustCompile(`([^\n])\n([^\n\t ])`)

// text returns a comment, with a line for each paragraph and each line of a
// table.
func text(c *ast.CommentGroup) string {
	if c == nil {
		return ""
	}
	return link.ReplaceAllString(broken.ReplaceAllString(strings.TrimSpace(c.Text()), "$1 $2"), "$1")
}
