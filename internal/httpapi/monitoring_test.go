package httpapi

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// told returns the names of the metrics that a server tells, histograms with
// their suffixes, and of those that describe its process.
func told(t *testing.T) map[string]bool {
	t.Helper()
	out := map[string]bool{"up": true}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (\w+) (\w+)`).FindAllStringSubmatch(everything(t), -1) {
		out[m[1]] = true
		if m[2] == "histogram" {
			out[m[1]+"_bucket"], out[m[1]+"_count"], out[m[1]+"_sum"] = true, true, true
		}
	}
	return out
}

var metricName = regexp.MustCompile(`\b(?:morningai|process|go)_\w+|\bup\b`)

// asks checks that an expression asks for metrics that there are.
func asks(t *testing.T, where, expr string, told map[string]bool) {
	t.Helper()
	names := metricName.FindAllString(expr, -1)
	if len(names) == 0 {
		t.Errorf("%s asks for no metric: %s", where, expr)
	}
	for _, name := range names {
		if !told[name] {
			t.Errorf("%s asks for %s, which there is not", where, name)
		}
	}
	if strings.Count(expr, "(") != strings.Count(expr, ")") || strings.Count(expr, "{") != strings.Count(expr, "}") {
		t.Errorf("%s: brackets of %s", where, expr)
	}
}

// The alert rules can be read, say what to do, and ask for what is told.
func TestAlertRules(t *testing.T) {
	told := told(t)
	text, err := os.ReadFile("../../docs/monitoring/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	decoder := yaml.NewDecoder(strings.NewReader(string(text)))
	decoder.KnownFields(true)
	if err := decoder.Decode(&file); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			if slices.Contains(names, r.Alert) {
				t.Errorf("%s stands twice", r.Alert)
			}
			names = append(names, r.Alert)
			asks(t, r.Alert, r.Expr, told)
			if s := r.Labels["severity"]; s != "page" && s != "ticket" {
				t.Errorf("%s has the severity %q", r.Alert, s)
			}
			if r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
				t.Errorf("%s does not say what it means and what to do", r.Alert)
			}
		}
	}
	if len(names) < 10 {
		t.Errorf("only %d rules were read", len(names))
	}
}

// So does the dashboard.
func TestDashboard(t *testing.T) {
	told := told(t)
	text, err := os.ReadFile("../../docs/monitoring/grafana-dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Title  string
		Panels []struct {
			ID                int
			Type, Title       string
			Targets           []struct{ RefID, Expr string }
			GridPos           struct{ X, Y, W, H int }
			Description, Unit string
		}
		Templating struct {
			List []struct{ Name, Query string }
		}
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	for _, v := range file.Templating.List {
		if v.Name == "job" {
			asks(t, v.Name, v.Query, told)
		}
	}
	asked := 0
	ids := map[int]bool{}
	for _, p := range file.Panels {
		if ids[p.ID] || p.Title == "" || p.GridPos.W == 0 || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("panel %d %q is laid out wrongly", p.ID, p.Title)
		}
		ids[p.ID] = true
		for _, target := range p.Targets {
			asks(t, p.Title, target.Expr, told)
			asked++
		}
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %q shows nothing", p.Title)
		}
	}
	if asked < 20 {
		t.Errorf("only %d expressions were read", asked)
	}
}
