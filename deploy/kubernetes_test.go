package deploy_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/openapi"
	"sigs.k8s.io/kubectl-validate/pkg/openapiclient"
	"sigs.k8s.io/kubectl-validate/pkg/validator"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// kubernetesVersion is the newest whose schemas the validator brings along.
const kubernetesVersion = "1.30"

// TestKubernetes_schemas renders the manifests as kubectl -k does and holds
// each against the schema that its API publishes.
func TestKubernetes_schemas(t *testing.T) {
	validate := newValidator(t)
	for _, folder := range []string{"base", "full"} {
		t.Run(folder, func(t *testing.T) {
			documents := render(t, "kustomize/"+folder)
			var kinds []string
			for _, document := range documents {
				gvk, object, err := validate.Parse(document)
				if err != nil {
					t.Errorf("%v\n%s", err, document)
					continue
				}
				if err := validate.Validate(object); err != nil {
					t.Errorf("%s %s: %v", gvk.Kind, object.GetName(), err)
				}
				kinds = append(kinds, gvk.Kind)
			}
			want := []string{
				"ConfigMap", "Deployment", "HorizontalPodAutoscaler", "NetworkPolicy",
				"PodDisruptionBudget", "Service", "Service",
			}
			if folder == "full" {
				want = append(want, "HTTPRoute", "ServiceMonitor")
			}
			slices.Sort(kinds)
			slices.Sort(want)
			if !slices.Equal(kinds, want) {
				t.Errorf("rendered %v, want %v", kinds, want)
			}
		})
	}
}

// TestKubernetes_badManifest shows that the validation above can fail.
func TestKubernetes_badManifest(t *testing.T) {
	validate := newValidator(t)
	for _, document := range render(t, "kustomize/full") {
		broken := bytes.Replace(document, []byte("\nspec:\n"), []byte("\nspec:\n  noSuchField: 1\n"), 1)
		if bytes.Equal(broken, document) {
			continue // a ConfigMap
		}
		_, object, err := validate.Parse(broken)
		if err == nil {
			err = validate.Validate(object)
		}
		if err == nil || !strings.Contains(err.Error(), "noSuchField") {
			t.Errorf("an unknown field passed: %v\n%s", err, broken)
		}
	}
}

// render returns the documents of a kustomization.
func render(t *testing.T, folder string) [][]byte {
	t.Helper()
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
	if err != nil {
		t.Fatal(err)
	}
	all, err := resources.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	var documents [][]byte
	reader := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(all)))
	for {
		document, err := reader.Read()
		if err == io.EOF {
			return documents
		}
		if err != nil {
			t.Fatal(err)
		}
		documents = append(documents, document)
	}
}

// newValidator knows Kubernetes' own kinds and the custom ones in use, whose
// definitions come with the modules of the projects that publish them.
func newValidator(t *testing.T) *validator.Validator {
	t.Helper()
	schemas := []openapi.Client{
		openapiclient.NewHardcodedBuiltins(kubernetesVersion),
		openapiclient.NewLocalCRDFiles(os.DirFS(definitions(t))),
	}
	v, err := validator.New(openapiclient.NewComposite(schemas...))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// definitions returns a folder with the custom resource definitions.
func definitions(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	for module, file := range map[string]string{
		"sigs.k8s.io/gateway-api@v1.2.0":                             "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",
		"github.com/prometheus-operator/prometheus-operator@v0.85.0": "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
	} {
		out, err := exec.Command("go", "mod", "download", "-json", module).Output()
		if err != nil {
			t.Fatalf("%s: %v", module, err)
		}
		var found struct{ Dir string }
		if err := json.Unmarshal(out, &found); err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(filepath.Join(found.Dir, file))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, filepath.Base(file)), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}
