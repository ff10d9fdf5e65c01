package deploy_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// image is what a Dockerfile's last stage describes.
type image struct {
	build      string            // the command that builds the program into /out
	files      map[string]string // source in the build stage, by place in the image
	user       string
	entrypoint string
}

func readDockerfile(t *testing.T) image {
	t.Helper()
	content, err := os.ReadFile("docker/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	img := image{files: make(map[string]string)}
	last := ""
	for line := range strings.Lines(string(content)) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch word {
		case "FROM":
			last = rest
		case "RUN":
			img.build = rest
		case "USER":
			img.user = rest
		case "ENTRYPOINT":
			img.entrypoint = strings.Trim(rest, `["]`)
		case "COPY":
			if from, ok := strings.CutPrefix(rest, "--from=build "); ok {
				source, place, _ := strings.Cut(from, " ")
				img.files[place] = source
			}
		}
	}
	if last != "scratch" {
		t.Fatalf("the last stage is from %q, want scratch", last)
	}
	return img
}

// TestImage_version: the image is built with the repository beside the code, of which Go
// takes the version that the bridge tells of itself.
func TestImage_version(t *testing.T) {
	ignored, err := os.ReadFile("docker/Dockerfile.dockerignore")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(ignored)) {
		if strings.HasPrefix(strings.TrimSpace(line), ".git") {
			t.Errorf("the image is built without %s", line)
		}
	}
}

// TestImage_runs builds the image's files with the Dockerfile's own command and
// runs its entry point on them alone, read-only and as its user, as a container
// would. There is no registry, and no container engine, in it.
func TestImage_runs(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: it mounts and changes the root folder")
	}
	img := readDockerfile(t)
	root, out := t.TempDir(), t.TempDir()
	run(t, "..", "sh", "-c", strings.ReplaceAll(img.build, "/out/", out+"/"))
	for place, source := range img.files {
		if built, ok := strings.CutPrefix(source, "/out/"); ok {
			source = filepath.Join(out, built)
		}
		copyFile(t, source, filepath.Join(root, place))
	}

	script := fmt.Sprintf(`mount --bind %[1]s %[1]s && mount -o remount,bind,ro %[1]s &&
		exec chroot --userspec=%[2]s %[1]s %[3]s serve --listen 127.0.0.1:0 --backend 127.0.0.1:1`, root, img.user, img.entrypoint)
	process := start(t, "unshare", "--mount", "sh", "-c", script)
	url := listening(t, process.stdout)
	answer, err := http.Get(url + "/bridge/client.js")
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Errorf("client.js: status %s", answer.Status)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", process.pid))
	if err != nil {
		t.Fatal(err)
	}
	uid, _, _ := strings.Cut(img.user, ":")
	for _, want := range []string{`Uid:\s+` + uid + `\s`, `CapEff:\s+0+\n`} {
		if !regexp.MustCompile(want).Match(status) {
			t.Errorf("the process's status lacks %q:\n%s", want, status)
		}
	}
}

func run(t *testing.T, folder, name string, args ...string) {
	t.Helper()
	command := exec.Command(name, args...)
	command.Dir = folder
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, content, 0o755); err != nil {
		t.Fatal(err)
	}
}
