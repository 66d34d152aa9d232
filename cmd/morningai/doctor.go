package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/RC918/morningai/internal/doctor"
)

type doctorCmd struct {
	Redis         string `placeholder:"URL" env:"MORNINGAI_REDIS,REDIS_URL" help:"The Redis to look at. A password belongs into the environment variable: command lines are public."`
	AllowEviction bool   `name:"redis-allow-eviction" env:"MORNINGAI_REDIS_ALLOW_EVICTION" help:"The servers start although Redis evicts keys: it is not wrong here."`
	Data          string `placeholder:"DIR" type:"path" env:"MORNINGAI_DATA" help:"Data folder to look at; the user's state folder unless given."`
	Server        string `placeholder:"URL" env:"MORNINGAI_SERVER" help:"Server to look at; the one that runs on the data folder unless given."`
	Token         string `placeholder:"TOKEN" env:"MORNINGAI_TOKEN" help:"Token to ask the server with, of the scope read. It belongs into the environment variable."`
	Listen        string `default:"127.0.0.1:8080" placeholder:"HOST:PORT" env:"MORNINGAI_LISTEN" help:"Where the server is to listen; that of the running one unless there is none (${default})."`
	TokenFile     string `type:"path" placeholder:"FILE" env:"MORNINGAI_TOKEN_FILE" help:"Token file that the server is to be started with; that of the running one unless there is none."`
	Insecure      bool   `env:"MORNINGAI_INSECURE" help:"The server is to be started with --insecure."`
	LLMURL        string `name:"llm-url" placeholder:"URL" env:"OPENAI_BASE_URL" help:"Base address of an LLM endpoint to look at, such as https://HOST/v1. Its key is read from OPENAI_API_KEY, and shown nowhere."`
	JSON          bool   `name:"json" help:"Print JSON."`
}

// Run looks at everything and fails if anything is wrong.
func (c *doctorCmd) Run(ctx context.Context, s streams, line *kong.Context) error {
	o := doctor.Options{Redis: c.Redis, AllowEviction: c.AllowEviction, Data: c.Data, Server: c.Server, Token: c.Token,
		Listen: c.Listen, TokenFile: c.TokenFile, Insecure: c.Insecure, LLM: c.LLMURL, LLMKey: os.Getenv("OPENAI_API_KEY"), Version: programVersion()}
	if o.Data == "" {
		o.Guess = guess
	}
	var err error
	if o.Data, err = dataFolder(c.Data); err != nil {
		return err
	}
	if c.Redis != "" && !c.JSON {
		fmt.Fprintf(s.err, "redis at %s (from %s)\n", redisHost(c.Redis), redisSource(line))
	}
	ctx, stop := signal.NotifyContext(ctx, stopSignals...)
	defer stop()
	report, err := doctor.Run(ctx, o)
	if err != nil {
		return err
	}
	if c.JSON {
		if err := printValue(s, report); err != nil {
			return err
		}
	} else if err := show(s.out, findings(report.Findings)); err != nil {
		return err
	}
	if report.Status != doctor.StatusOK {
		return ended(exitFailed)
	}
	return nil
}

// findings are for people: what is wrong at the end, where the eye rests.
func findings(all []doctor.Finding) string {
	width := 0
	for _, f := range all {
		width = max(width, len(f.Name))
	}
	var b strings.Builder
	reasons := map[string]int{}
	var skipped []string
	wrong := 0
	for _, f := range all {
		switch f.Status {
		case doctor.StatusOK:
			fmt.Fprintf(&b, "%s  %-*s  %s\n", good.Render("ok     "), width, f.Name, printable(f.Seen))
		case doctor.StatusUnknown:
			fmt.Fprintf(&b, "%s  %-*s  %s\n", warn.Render("unknown"), width, f.Name, printable(f.Seen))
		case doctor.StatusSkipped:
			if reasons[f.Seen]++; reasons[f.Seen] == 1 {
				skipped = append(skipped, f.Seen)
			}
		}
	}
	for _, why := range skipped {
		fmt.Fprintf(&b, "%s  %s\n", faint.Render("skipped"), printable(fmt.Sprintf("%d checks: %s", reasons[why], why)))
	}
	for _, f := range all {
		if f.Status != doctor.StatusWrong {
			continue
		}
		wrong++
		fmt.Fprintf(&b, "\n%s  %s\n  seen:   %s\n  means:  %s\n  fix:    %s\n", bad.Render("WRONG"), f.Name, printable(f.Seen), printable(f.Meaning), printable(f.Fix))
	}
	if wrong > 0 {
		fmt.Fprintf(&b, "\n%d of %d checks found something wrong\n", wrong, len(all))
	} else {
		b.WriteString("nothing is wrong\n")
	}
	return b.String()
}
