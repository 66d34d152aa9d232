package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// redisServer is a redis-server of our own, on a free port of the loopback
// interface, with its files in a folder of its own.
type redisServer struct {
	cmd    *exec.Cmd
	client *redis.Client
	port   int
}

func startRedis(ctx context.Context, dir string, more ...string) (*redisServer, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		return nil, err
	}
	dir = filepath.Join(dir, "redis-"+strconv.Itoa(port))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	// No rewrite of the log: its moment would be chance.
	args := []string{"--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", dir, "--logfile", "log", "--save", "",
		"--appendonly", "yes", "--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0"}
	s := &redisServer{port: port, cmd: exec.Command("redis-server", append(args, more...)...)}
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%w: install Redis (apt-get install redis-server)", err)
	}
	s.client = redis.NewClient(&redis.Options{Addr: s.addr(), MaxRetries: -1})
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := s.client.Ping(ctx).Err()
		if err == nil {
			return s, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("redis-server does not answer: %w", err), s.stop())
		}
	}
}

func (s *redisServer) addr() string { return "127.0.0.1:" + strconv.Itoa(s.port) }

func (s *redisServer) stop() error {
	err := s.client.Close()
	if killErr := s.cmd.Process.Kill(); killErr != nil {
		return errors.Join(err, killErr)
	}
	var exit *exec.ExitError
	if waitErr := s.cmd.Wait(); !errors.As(waitErr, &exit) { // killed, as told
		err = errors.Join(err, waitErr)
	}
	return err
}

// onFreshRedis runs a job on a new redis-server and stops it.
func onFreshRedis(ctx context.Context, dir string, j job) (out outcome, err error) {
	s, err := startRedis(ctx, dir)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	j.Path = "redis://" + s.addr()
	return inChild(ctx, j)
}
