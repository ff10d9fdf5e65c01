// Package deploy tests what operators install: the image, the systemd units,
// the Debian package, the Kubernetes manifests, the dashboard and the alerts. It
// is a module of its own, so that what it takes to check them is no dependency
// of the bridge.
package deploy
