package main

import (
	"context"
	"log/slog"
	"sync"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"

	"github.com/RC918/morningai/client"
)

// notifier tells the service manager how the server stands, if one asks for it
// (NOTIFY_SOCKET, WATCHDOG_USEC), and nobody else.
type notifier struct {
	log     *slog.Logger
	ctx     context.Context
	cancel  context.CancelFunc
	watches sync.WaitGroup
}

func startNotifier(log *slog.Logger) *notifier {
	n := &notifier{log: log}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	return n
}

func (n *notifier) say(state string) {
	if _, err := systemd.SdNotify(false, state); err != nil {
		n.log.Warn("the service manager cannot be told how the server stands", "error", err)
	}
}

// ready is called when requests are accepted. From then on the watchdog, if there
// is one, is fed as long as the server answers at its address.
func (n *notifier) ready(url string) {
	n.say(systemd.SdNotifyReady)
	every, err := systemd.SdWatchdogEnabled(false)
	if err != nil {
		n.log.Warn("the watchdog of the service manager cannot be fed", "error", err)
	}
	if every > 0 && err == nil {
		n.watches.Go(func() { n.watch(url, every/3) })
	}
}

func (n *notifier) watch(url string, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	c, err := client.New(url)
	if err != nil {
		n.log.Warn("the watchdog of the service manager cannot be fed", "error", err)
		return
	}
	defer c.Close()
	for {
		try, cancel := context.WithTimeout(n.ctx, every)
		if _, err := c.Live(try); err == nil {
			n.say(systemd.SdNotifyWatchdog)
		}
		cancel()
		select {
		case <-tick.C:
		case <-n.ctx.Done():
			return
		}
	}
}

func (n *notifier) reloading() { n.say(systemd.SdNotifyReloading) }

func (n *notifier) reloaded() { n.say(systemd.SdNotifyReady) }

func (n *notifier) stopping() { n.say(systemd.SdNotifyStopping) }

// stop is called when the server has ended.
func (n *notifier) stop() {
	n.cancel()
	n.watches.Wait()
}
