package httpapi

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/wire"
)

// What fails before anything was sent is an answer; what fails later is cut off, so
// that nobody takes a part for the whole.
func TestBackupRoute(t *testing.T) {
	part := strings.Repeat("x", 2*backupPart)
	var fail error
	b := start(t, open(t), Options{Backup: func(_ context.Context, w io.Writer) error {
		if _, err := io.WriteString(w, "head"); err != nil {
			return err
		}
		if fail != nil && morningai.CodeOf(fail) != "" {
			return fail
		}
		if _, err := io.WriteString(w, part); err != nil {
			return err
		}
		return fail
	}})
	r := b.want(200, "GET", "/v1/backup", "")
	if string(r.raw) != "head"+part || r.Header.Get("Content-Type") != wire.BackupType {
		t.Errorf("%d bytes of %s", len(r.raw), r.Header.Get("Content-Type"))
	}
	if r := b.do(http.MethodHead, "/v1/backup", ""); r.StatusCode != 200 || r.Header.Get("Content-Type") != wire.BackupType {
		t.Errorf("HEAD: %d", r.StatusCode)
	}
	fail = &morningai.Error{Code: codeRedisUnavailable, Op: "export", Detail: "Redis does not answer"}
	b.want(503, "GET", "/v1/backup", "")
	fail = errors.New("the disk fails")
	resp, err := http.Get(b.URL + "/v1/backup")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if n, err := io.Copy(io.Discard, resp.Body); err == nil {
		t.Errorf("a backup that failed after %d bytes looks whole", n)
	}
}

// One at a time: each reads everything.
func TestBackupsAreReadOneAtATime(t *testing.T) {
	begun, goOn := make(chan struct{}), make(chan struct{})
	b := start(t, open(t), Options{Backup: func(_ context.Context, w io.Writer) error {
		begun <- struct{}{}
		<-goOn
		_, err := io.WriteString(w, "all")
		return err
	}})
	done := make(chan int)
	go func() { done <- b.do("GET", "/v1/backup", "").StatusCode }()
	<-begun
	if r := b.want(429, "GET", "/v1/backup", ""); r.Header.Get("Retry-After") == "" {
		t.Error("it is not said when to try again")
	}
	close(goOn)
	if status := <-done; status != 200 {
		t.Errorf("the first one is answered with %d", status)
	}
}

// How backups fare is told by health and metrics.
func TestScheduledBackupsAreTold(t *testing.T) {
	at := time.Now().Add(-time.Minute)
	age := wire.Duration(time.Minute)
	now := wire.Backups{Status: "failing", LastAt: &at, Age: &age, File: "f", Bytes: 7, Cause: "no room", Made: 2, Failed: 3}
	b := start(t, open(t), Options{Backups: func() wire.Backups { return now }})
	var health struct{ Backup map[string]any }
	b.want(200, "GET", "/health", "").into(t, &health)
	if health.Backup["status"] != "failing" || health.Backup["age"] != "1m0s" || health.Backup["cause"] != "no room" || health.Backup["file"] != "f" {
		t.Errorf("health tells %v", health.Backup)
	}
	got := b.scrape()
	holds(t, "with backups", got, map[string]float64{`morningai_backups_total{outcome="made"}`: 2, `morningai_backups_total{outcome="failed"}`: 3, `morningai_backup_bytes`: 7})
	if s := got[`morningai_backup_age_seconds`]; s < 60 || s > 600 {
		t.Errorf("the age is %v s", s)
	}
	now = wire.Backups{Status: "none"}
	holds(t, "without one", b.scrape(), map[string]float64{`morningai_backup_age_seconds`: -1})
}
