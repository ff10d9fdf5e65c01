package deploy_test

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// TestSystemd_units has systemd itself check the units, in a root folder with
// what they name, and bounds what the service may do: 20 of 100 at most.
func TestSystemd_units(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("no systemd-analyze")
	}
	root := t.TempDir()
	units := filepath.Join(root, "usr/lib/systemd/system")
	for _, unit := range []string{"pollbridge.service", "pollbridge.socket"} {
		copyFile(t, filepath.Join("systemd", unit), filepath.Join(units, unit))
	}
	copyFile(t, "/bin/true", filepath.Join(root, "usr/lib/pollbridge/bridge"))
	copyFile(t, "/bin/true", filepath.Join(root, "bin/kill"))
	run(t, ".", "systemd-analyze", "verify", "--root="+root, "--man=no", "--recursive-errors=no",
		"pollbridge.service", "pollbridge.socket")
	run(t, ".", "systemd-analyze", "security", "--offline=true", "--threshold=20", "systemd/pollbridge.service")
}
