package deploy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestPackage_chroot installs the Debian package into a fresh Debian, runs what
// it brings, and removes it again.
func TestPackage_chroot(t *testing.T) {
	for _, tool := range []string{"debootstrap", "dpkg-deb"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("no %s", tool)
		}
	}
	if os.Getuid() != 0 {
		t.Skip("needs root: it makes a root folder")
	}
	dist, root := t.TempDir(), t.TempDir()
	run(t, "..", "make", "deb", "DIST="+dist, "VERSION=1.2.3")
	run(t, ".", "debootstrap", "--variant=minbase", "stable", root, mirror(t))
	copyFile(t, filepath.Join(dist, "pollbridge_1.2.3_"+architecture(t)+".deb"), filepath.Join(root, "pollbridge.deb"))

	run(t, ".", "chroot", root, "dpkg", "-i", "/pollbridge.deb")
	run(t, ".", "chroot", root, "pollbridge", "version")
	run(t, ".", "chroot", root, "/usr/lib/pollbridge/bridge", "serve", "--help")
	for _, unit := range []string{"pollbridge.service", "pollbridge.socket"} {
		if _, err := os.Stat(filepath.Join(root, "usr/lib/systemd/system", unit)); err != nil {
			t.Error(err)
		}
	}
	run(t, ".", "chroot", root, "dpkg", "--purge", "pollbridge")
	for _, gone := range []string{"usr/lib/pollbridge", "etc/pollbridge", "usr/bin/pollbridge"} {
		if _, err := os.Lstat(filepath.Join(root, gone)); err == nil {
			t.Errorf("/%s is left after a purge", gone)
		}
	}
}

// mirror is the first archive that this machine installs from.
func mirror(t *testing.T) string {
	t.Helper()
	sites := strings.Fields(output(t, "apt-get", "indextargets", "--format", "$(SITE)"))
	if len(sites) == 0 {
		t.Skip("apt knows no archive")
	}
	return sites[0]
}

func architecture(t *testing.T) string {
	t.Helper()
	return strings.TrimSpace(output(t, "dpkg", "--print-architecture"))
}

func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		t.Fatalf("%s %v: %v", name, args, err)
	}
	return string(out)
}
