package look_test

import (
	"io/fs"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/pollbridge/pollbridge/internal/look"
)

func TestWith(t *testing.T) {
	files := look.With(fstest.MapFS{"index.html": {}, "parts/one.css": {}})
	var got []string
	err := fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		got = append(got, name)
		_, err = fs.ReadFile(files, name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"favicon.svg", "index.html", "parts/one.css", "theme.css", "theme.js"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if _, err := files.Open("other.css"); err == nil {
		t.Error("other.css is there")
	}
}
