package kubecheck_test

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// manifests are the objects of deploy/kubernetes.
type manifests struct {
	config  core.ConfigMap
	service core.Service
	set     apps.StatefulSet
	budget  policy.PodDisruptionBudget
	network networking.NetworkPolicy
}

// load decodes every document into the type of its kind. A key that the type does not have, a value of another type and a key given
// twice are errors.
func load(t *testing.T) (m manifests) {
	t.Helper()
	text, err := os.ReadFile("../kubernetes/surgegate.yaml")
	if err != nil {
		t.Fatal(err)
	}
	into := map[string]any{
		"v1 ConfigMap": &m.config, "v1 Service": &m.service, "apps/v1 StatefulSet": &m.set,
		"policy/v1 PodDisruptionBudget": &m.budget, "networking.k8s.io/v1 NetworkPolicy": &m.network,
	}
	for _, doc := range strings.Split(string(text), "\n---\n") {
		var kind meta.TypeMeta
		if err := yaml.Unmarshal([]byte(doc), &kind); err != nil {
			t.Fatal(err)
		}
		name := kind.APIVersion + " " + kind.Kind
		object, ok := into[name]
		if !ok {
			t.Fatalf("%s is not known, or there twice", name)
		}
		if err := yaml.UnmarshalStrict([]byte(doc), object); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		delete(into, name)
	}
	if len(into) > 0 {
		t.Fatalf("missing: %v", reflect.ValueOf(into).MapKeys())
	}
	return m
}

func TestEverythingSelectsThePods(t *testing.T) {
	t.Parallel()
	m := load(t)
	labels := m.set.Spec.Template.Labels
	for what, selector := range map[string]map[string]string{
		"StatefulSet": m.set.Spec.Selector.MatchLabels, "Service": m.service.Spec.Selector,
		"PodDisruptionBudget": m.budget.Spec.Selector.MatchLabels, "NetworkPolicy": m.network.Spec.PodSelector.MatchLabels,
	} {
		if len(selector) == 0 || !reflect.DeepEqual(selector, labels) {
			t.Errorf("%s selects %v, the pods have %v", what, selector, labels)
		}
	}
	if m.set.Spec.ServiceName != m.service.Name {
		t.Errorf("serviceName is %s, the Service %s", m.set.Spec.ServiceName, m.service.Name)
	}
	if *m.set.Spec.Replicas != 1 {
		t.Error("the embedded queue belongs to one process")
	}
}

// A Service called surgegate… would give every pod variables that look like keys of the configuration.
func TestServiceGivesNoVariablesThatLookLikeKeys(t *testing.T) {
	t.Parallel()
	m := load(t)
	if strings.HasPrefix(m.service.Name, "surgegate") {
		t.Errorf("the Service is called %s", m.service.Name)
	}
	if links := m.set.Spec.Template.Spec.EnableServiceLinks; links == nil || *links {
		t.Error("enableServiceLinks is not false")
	}
}

func TestContainerHasNoRights(t *testing.T) {
	t.Parallel()
	m := load(t)
	pod, c := m.set.Spec.Template.Spec, m.set.Spec.Template.Spec.Containers[0]
	if p := pod.SecurityContext; !*p.RunAsNonRoot || *p.RunAsUser != 65532 || *p.FSGroup != 65532 ||
		*p.FSGroupChangePolicy != core.FSGroupChangeOnRootMismatch || p.SeccompProfile.Type != core.SeccompProfileTypeRuntimeDefault {
		t.Errorf("%+v", p)
	}
	if s := c.SecurityContext; !*s.ReadOnlyRootFilesystem || *s.AllowPrivilegeEscalation || len(s.Capabilities.Add) > 0 ||
		!reflect.DeepEqual(s.Capabilities.Drop, []core.Capability{"ALL"}) {
		t.Errorf("%+v", s)
	}
	if *pod.AutomountServiceAccountToken {
		t.Error("the pod has a token of the cluster")
	}
	if !c.Resources.Limits.Memory().Equal(*c.Resources.Requests.Memory()) || c.Resources.Limits.Memory().IsZero() {
		t.Error("memory is not guaranteed")
	}
}

// The order of an end: preStop, SIGTERM, shutdown.grace (30 s), and 15 s besides.
func TestDrainHasItsTime(t *testing.T) {
	t.Parallel()
	pod := load(t).set.Spec.Template.Spec
	pause := pod.Containers[0].Lifecycle.PreStop.Sleep.Seconds
	if pause < 2 || *pod.TerminationGracePeriodSeconds < pause+30+15 {
		t.Errorf("preStop takes %d s, the pod has %d s", pause, *pod.TerminationGracePeriodSeconds)
	}
}

func TestPortsAndProbesFitTheConfiguration(t *testing.T) {
	t.Parallel()
	m := load(t)
	c, text := m.set.Spec.Template.Spec.Containers[0], m.config.Data["surgegate.yaml"]
	ports := map[string]int32{}
	for _, p := range c.Ports {
		ports[p.Name] = p.ContainerPort
	}
	for name, want := range map[string]string{"grpc": `grpc: "0\.0\.0\.0:7600"`, "http": `http: "0\.0\.0\.0:7602"`} {
		if !regexp.MustCompile(want).MatchString(text) || ports[name] == 0 {
			t.Errorf("the configuration has no %s, or the container no port %s: %v", want, name, ports)
		}
	}
	for _, p := range m.service.Spec.Ports {
		if ports[p.TargetPort.StrVal] != p.Port {
			t.Errorf("the Service leads %d to %s", p.Port, p.TargetPort.StrVal)
		}
	}
	for path, probe := range map[string]*core.Probe{"/healthz": c.LivenessProbe, "/readyz": c.ReadinessProbe, "/healthz ": c.StartupProbe} {
		if probe.HTTPGet.Path != strings.TrimSpace(path) || ports[probe.HTTPGet.Port.StrVal] != 7602 ||
			probe.HTTPGet.Scheme != core.URISchemeHTTPS { // listen.http speaks TLS where tls.cert is set
			t.Errorf("%s is asked at %s of %s, %s", path, probe.HTTPGet.Path, probe.HTTPGet.Port.StrVal, probe.HTTPGet.Scheme)
		}
	}
	for _, rule := range m.network.Spec.Ingress {
		if len(rule.From) == 0 {
			t.Errorf("everybody may come in at %v", rule.Ports)
		}
		for _, p := range rule.Ports {
			if p.Port.IntVal != ports["grpc"] && p.Port.IntVal != ports["http"] {
				t.Errorf("port %d is let in, but nothing listens there", p.Port.IntVal)
			}
		}
	}
}

// Each file in /etc/surgegate that the configuration names is in a Secret that the page says how to make, and each folder is a volume.
func TestFilesComeFromSecretsAndVolumes(t *testing.T) {
	t.Parallel()
	m := load(t)
	page, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	text := m.config.Data["surgegate.yaml"]
	files := regexp.MustCompile(`/etc/surgegate/([\w.-]+)`).FindAllStringSubmatch(text, -1)
	if len(files) < 5 {
		t.Errorf("found %v", files)
	}
	for _, f := range files {
		if !regexp.MustCompile(`--from-file=(` + regexp.QuoteMeta(f[1]) + `=)?[\w./-]*` + regexp.QuoteMeta(f[1])).Match(page) {
			t.Errorf("deploy/README.md does not say how %s comes into a Secret", f[1])
		}
	}
	pod := m.set.Spec.Template.Spec
	for _, source := range pod.Volumes[0].Projected.Sources {
		if s := source.Secret; s != nil && !strings.Contains(string(page), "create secret generic "+s.Name+" ") {
			t.Errorf("deploy/README.md does not make the Secret %s", s.Name)
		}
	}
	mounted, claimed := map[string]string{}, map[string]bool{}
	for _, c := range m.set.Spec.VolumeClaimTemplates {
		claimed[c.Name] = true
	}
	for _, v := range pod.Containers[0].VolumeMounts {
		mounted[v.MountPath] = v.Name
	}
	data, keys := mounted["/var/lib/surgegate"], mounted["/var/lib/surgegate-keys"]
	if !claimed[data] || !claimed[keys] || data == keys ||
		!strings.Contains(text, "data_dir: /var/lib/surgegate\n") || !strings.Contains(text, "keys_dir: /var/lib/surgegate-keys\n") {
		t.Errorf("mounted: %v, claimed: %v", mounted, claimed)
	}
}
