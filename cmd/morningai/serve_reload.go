package main

import (
	"errors"
	"log/slog"
	"os"

	"github.com/RC918/morningai/server"
)

// reloader reads again, at each SIGHUP, what may change while the server runs: the
// tokens, the limits and the log level.
type reloader struct {
	srv      *server.Server
	log      *slog.Logger
	level    *slog.LevelVar
	manager  *notifier
	args     []string // of the command line
	settings *envFile
}

// follow reloads at each signal until what it returns is called.
func (r *reloader) follow(hangups <-chan os.Signal) (stop func()) {
	over, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-hangups:
				r.manager.reloading()
				if err := r.reload(); err != nil {
					r.log.Error("not everything could be read again, and stays as it was", "error", err)
				} else {
					r.log.Info("tokens, limits and log level were read again", "log_level", r.level.Level().String())
				}
				r.manager.reloaded()
			case <-over:
				return
			}
		}
	}()
	return func() {
		close(over)
		<-ended
	}
}

// reload takes the same command line in the environment of the file as it is now. A
// mistake in the settings does not keep a token alive that was taken away.
func (r *reloader) reload() error {
	again := &commands{}
	err := r.settings.parseAgain(again, r.args)
	var limits server.Limits
	if err == nil {
		limits, err = again.Serve.limits()
	}
	if err != nil {
		return errors.Join(err, r.srv.ReloadTokens())
	}
	r.level.Set(again.Serve.level())
	return r.srv.Reload(limits)
}
