package sim

import (
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/drill"
)

// strike cuts a node off, and may kill it too, at the worst moment: the shared
// engine has just taken tasks that the node had for itself, and the node does not
// learn of it. Meanwhile somebody gives it orders about them.
func (w *world) strike(h *host, taken []morningai.ID) {
	r, f := w.strikes, w.cfg.Faults
	lasts := between(r, 300*time.Millisecond, 6*time.Second)
	if !f.Outages || !chance(r, 0.2) || !h.up || h.reach != reachFine || w.now+lasts > w.plan.calm {
		return
	}
	w.hist.Add(drill.Op{Node: h.name, Kind: drill.Cut})
	w.trace(h.name, "its way to redis is silent, as it delivers")
	h.reach = reachSilent
	if f.Crashes && chance(r, 0.3) {
		w.after(0, h.crash)
		w.after(between(r, 20*time.Millisecond, 200*time.Millisecond), h.restart)
	}
	for _, id := range taken[:min(len(taken), 4)] {
		cmd := morningai.Command{Kind: morningai.CommandCancel, ID: id}
		if chance(r, 0.3) {
			cmd.Kind = morningai.CommandDelete
		}
		w.after(between(r, 0, 2*lasts), func() {
			if h.up {
				w.clients.order(h, h.reader("striker"), cmd)
			}
		})
	}
	w.after(lasts, func() {
		h.reach = reachFine
		w.trace(h.name, "its way to redis is fine")
		w.hist.Add(drill.Op{Node: h.name, Kind: drill.Mended})
	})
}
