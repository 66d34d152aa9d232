package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/RC918/morningai/internal/address"
)

// TestScripts runs testdata/script. Beside testscript's own commands there are:
//
//	serve NAME [FLAG…]     start a server on the data folder $WORK/data unless
//	                       --data says otherwise, wait for its ready line, set $URL
//	signal NAME TERM|HUP|KILL  send a signal
//	ended NAME CODE        wait for the end and check the exit code; what the
//	                       server said is in NAME.log then
//	exits CODE COMMAND…    run the program and check its exit code
//	until PATTERN COMMAND… run the program again and again until its output matches
//	keep VAR [FILE]        set $VAR to the last output, or to what is in the file
//	pick VAR PATH          set $VAR to one value of the last output
//	json PATH VALUE        check one value of the last output, such as tasks.0.state
//	says NAME PATTERN      wait until the server has said something on stderr
//	interrupt CODE PATTERN COMMAND…
//	                       run the program, interrupt it when a line of its stderr
//	                       matches, check its exit code; files said and printed
//	fakenote FOLDER URL    write the note of a server that is not there
//	listener VAR           listen on a port that speaks no HTTP; $VAR is its address
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("MORNINGAI_DATA", filepath.Join(env.WorkDir, "data"))
			env.Setenv("MORNINGAI_DOCS", filepath.Join(env.WorkDir, "docs"))
			env.Setenv("GORACE", os.Getenv("GORACE"))
			env.Values[daemonsKey{}] = &daemons{byName: map[string]*daemon{}}
			return os.Mkdir(filepath.Join(env.WorkDir, "docs"), 0o755)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"serve": scriptServe, "signal": scriptSignal, "ended": scriptEnded, "exits": scriptExits,
			"until": scriptUntil, "keep": scriptKeep, "json": scriptJSON, "pick": scriptPick, "listener": scriptListener,
			"says": scriptSays, "interrupt": scriptInterrupt, "fakenote": scriptFakeNote,
		},
	})
}

type daemonsKey struct{}

type daemons struct {
	mu     sync.Mutex
	byName map[string]*daemon
}

func daemonOf(ts *testscript.TestScript, name string) *daemon {
	all := ts.Value(daemonsKey{}).(*daemons)
	all.mu.Lock()
	defer all.mu.Unlock()
	d := all.byName[name]
	if d == nil {
		ts.Fatalf("no server is called %s", name)
	}
	return d
}

func need(ts *testscript.TestScript, neg bool, args []string, least int) {
	if neg || len(args) < least {
		ts.Fatalf("see TestScripts for how to call this")
	}
}

func scriptServe(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 1)
	path, err := program()
	ts.Check(err)
	cmd := exec.Command(path, append([]string{"serve", "--listen", "127.0.0.1:0"}, args[1:]...)...)
	cmd.Args[0] = "morningai"
	cmd.Dir, cmd.Env = ts.MkAbs("."), environment(ts)
	d, err := startDaemon(cmd)
	ts.Check(err)
	ts.Defer(d.kill)
	ts.Setenv("URL", d.url)
	all := ts.Value(daemonsKey{}).(*daemons)
	all.mu.Lock()
	defer all.mu.Unlock()
	all.byName[args[0]] = d
}

// environment is what the program gets to know.
func environment(ts *testscript.TestScript) []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "MORNINGAI_DATA", "MORNINGAI_DOCS", "GORACE", "SystemRoot", "LocalAppData"} {
		env = append(env, name+"="+ts.Getenv(name))
	}
	return env
}

func scriptSignal(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2)
	signals := map[string]os.Signal{"TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP, "INT": os.Interrupt, "KILL": os.Kill}
	ts.Check(daemonOf(ts, args[0]).cmd.Process.Signal(signals[args[1]]))
}

func scriptEnded(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2)
	d := daemonOf(ts, args[0])
	code := d.wait()
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".log"), []byte(d.said()), 0o600))
	if strconv.Itoa(code) != args[1] {
		ts.Fatalf("the server ended with %d:\n%s", code, d.said())
	}
}

func exitCodeOf(ts *testscript.TestScript, args []string) int {
	err := ts.Exec("morningai", args...)
	if err == nil {
		return 0
	}
	ee, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		ts.Fatalf("%v", err)
	}
	return ee.ExitCode()
}

func scriptExits(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 1)
	if code := exitCodeOf(ts, args[1:]); strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

func scriptUntil(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2)
	pattern, err := regexp.Compile(args[0])
	ts.Check(err)
	for {
		exitCodeOf(ts, args[1:])
		if pattern.MatchString(ts.ReadFile("stdout")) {
			return
		}
	}
}

func scriptKeep(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 1)
	file := "stdout"
	if len(args) > 1 {
		file = args[1]
	}
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile(file)))
}

func scriptJSON(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2)
	if got := outputAt(ts, args[0]); got != args[1] {
		ts.Fatalf("%s is %s, want %s", args[0], got, args[1])
	}
}

func scriptPick(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2)
	ts.Setenv(args[0], outputAt(ts, args[1]))
}

// outputAt returns one value of the last output.
func outputAt(ts *testscript.TestScript, path string) string {
	var v any
	if err := json.Unmarshal([]byte(ts.ReadFile("stdout")), &v); err != nil {
		ts.Fatalf("the output is not JSON: %v", err)
	}
	for _, step := range strings.Split(path, ".") {
		switch at := v.(type) {
		case map[string]any:
			var ok bool
			if v, ok = at[step]; !ok {
				ts.Fatalf("the output has no %s", path)
			}
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i >= len(at) {
				ts.Fatalf("the output has no %s", path)
			}
			v = at[i]
		default:
			ts.Fatalf("the output has no %s", path)
		}
	}
	got, ok := v.(string)
	if !ok {
		data, err := json.Marshal(v)
		ts.Check(err)
		got = string(data)
	}
	return got
}

func scriptListener(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 1)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ended := make(chan struct{})
	go func() { // whoever connects is sent away
		defer close(ended)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
		}
	}()
	ts.Defer(func() {
		_ = ln.Close()
		<-ended
	})
	ts.Setenv(args[0], fmt.Sprint(ln.Addr()))
}

func scriptSays(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2)
	pattern, err := regexp.Compile(args[1])
	ts.Check(err)
	d := daemonOf(ts, args[0])
	d.mu.Lock()
	defer d.mu.Unlock()
	for !pattern.MatchString(d.log.String()) {
		if d.over {
			ts.Fatalf("the server ended without saying so:\n%s", d.log.String())
		}
		d.more.Wait()
	}
}

func scriptInterrupt(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 3)
	pattern, err := regexp.Compile(args[1])
	ts.Check(err)
	path, err := program()
	ts.Check(err)
	cmd := exec.Command(path, args[2:]...)
	cmd.Args[0], cmd.Dir, cmd.Env = "morningai", ts.MkAbs("."), environment(ts)
	var out strings.Builder
	cmd.Stdout = &out
	stderr, err := cmd.StderrPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	ts.Defer(func() { _ = cmd.Process.Kill() })
	var said strings.Builder
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		said.WriteString(lines.Text() + "\n")
		if pattern.MatchString(lines.Text()) {
			ts.Check(cmd.Process.Signal(os.Interrupt))
		}
	}
	_ = cmd.Wait() // the exit code says it
	ts.Check(os.WriteFile(ts.MkAbs("said"), []byte(said.String()), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs("printed"), []byte(out.String()), 0o600))
	if code := cmd.ProcessState.ExitCode(); strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s:\n%s", code, args[0], said.String())
	}
}

func scriptFakeNote(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2)
	ts.Check(address.Write(ts.MkAbs(args[0]), address.Note{URL: args[1], Instance: "another", PID: 1}))
}
