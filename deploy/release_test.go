package deploy_test

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestRelease_snapshot builds what a release has: an archive for each platform,
// with a list of what it was built from, and packages, all of them with
// checksums that fit.
func TestRelease_snapshot(t *testing.T) {
	run(t, "..", "make", "snapshot")
	const dist, version = "../dist", "0.0.1-snapshot"
	sums := checksums(t, filepath.Join(dist, "checksums.txt"))
	want := []string{"pollbridge_" + version + "_amd64.deb", "pollbridge_" + version + "_arm64.deb"}
	for _, platform := range []string{"linux_amd64", "linux_arm64", "linux_armv7", "linux_386", "darwin_amd64", "darwin_arm64", "windows_amd64"} {
		name := "bridge_" + version + "_" + platform
		archive, program := name+".tar.gz", "bridge"
		if platform == "windows_amd64" {
			archive, program = name+".zip", "bridge.exe"
		}
		want = append(want, archive, name+".cdx.json")
		files := list(t, filepath.Join(dist, archive))
		for _, file := range []string{program, "LICENSE", "README.md", "CHANGELOG.md", "man/bridge-serve.1", "completion/bridge.bash", "completion/bridge.zsh", "completion/bridge.fish"} {
			if !slices.Contains(files, path.Join(name, file)) {
				t.Errorf("%s has no %s: %v", archive, file, files)
			}
		}
		if parts := components(t, filepath.Join(dist, name+".cdx.json")); !slices.Contains(parts, "google.golang.org/grpc") {
			t.Errorf("%s.cdx.json: no grpc among %v", name, parts)
		}
	}
	if got := slices.Sorted(maps.Keys(sums)); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
		t.Errorf("checksums.txt is of %v, want %v", got, want)
	}
	for name, sum := range sums {
		file := filepath.Join(dist, name)
		if strings.HasSuffix(name, ".deb") {
			file = filepath.Join("../bin/release/packages", name)
		}
		content, err := os.ReadFile(file)
		if err != nil {
			t.Error(err)
			continue
		}
		if got := sha256.Sum256(content); hex.EncodeToString(got[:]) != sum {
			t.Errorf("%s: checksum %x, checksums.txt has %s", name, got, sum)
		}
	}
}

// checksums reads lines of a sum and a name.
func checksums(t *testing.T, file string) map[string]string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sums := map[string]string{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		sums[fields[1]] = fields[0]
	}
	return sums
}

// list returns the names of the files in an archive.
func list(t *testing.T, archive string) []string {
	t.Helper()
	var names []string
	if strings.HasSuffix(archive, ".zip") {
		z, err := zip.OpenReader(archive)
		if err != nil {
			t.Fatal(err)
		}
		defer z.Close()
		for _, file := range z.File {
			names = append(names, file.Name)
		}
		return names
	}
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for files := tar.NewReader(unzipped); ; {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, header.Name)
	}
}

// components returns the modules that a CycloneDX document names.
func components(t *testing.T, file string) []string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var document struct{ Components []struct{ Name string } }
	if err := json.Unmarshal(content, &document); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, component := range document.Components {
		names = append(names, component.Name)
	}
	return names
}
