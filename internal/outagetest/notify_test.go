package outagetest

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A receiver is told of an outage that lasts and of its end, once each, although
// the server is killed in between and the receiver fails at first. The address
// and the secret are in no log.
func TestNotifications(t *testing.T) {
	t.Parallel()
	got := make(chan string, 100)
	failures := make(chan struct{}, 1)
	failures <- struct{}{}
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-failures:
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			got <- r.Header.Get("Webhook-Id")
		}
	}))
	t.Cleanup(receiver.Close)
	f := startFleet(t)
	a := f.startNode("a", "--notify-url", receiver.URL+"/?token=t0ken", "--notify-secret", "n0tify-"+planted, "--notify-after", "1s")
	f.during(killed, 0, func() { f.degraded(a) }) // a blip
	f.settle()
	f.away(killed)
	if id := <-got; !strings.HasSuffix(id, ".outage.lasting") {
		t.Errorf("the receiver was told %q", id)
	}
	until(t, patience, "the server to remember that", func() bool { return strings.Contains(a.said(), "the receiver of notifications was told") })
	f.kill(a)
	f.again(a)
	f.back(killed)
	f.settle()
	incidents := f.incidents(a)
	if id := <-got; id != incidents[0].ID+".outage.over" {
		t.Errorf("the receiver was told %q of %+v", id, incidents)
	}
	if len(got) > 0 {
		t.Errorf("the receiver was told %q too", <-got)
	}
	if said := a.said(); strings.Contains(said, "t0ken") || strings.Contains(said, planted) {
		t.Error("the log has the token or the secret")
	}
	a.stop()
	n := newNode(t, "alone", "--notify-url", receiver.URL, "--notify-secret", "n0tify-"+planted, "--docs", f.docs)
	n.launch()
	<-n.done
	if said := n.saidNow(); n.cmd.ProcessState.ExitCode() != 2 || !strings.Contains(said, "needs a server on Redis") {
		t.Errorf("without Redis it exits with %d and says %s", n.cmd.ProcessState.ExitCode(), said)
	}
}
