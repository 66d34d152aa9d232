package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// spread measures what only concerns this project: what a task costs Redis with
// 16 nodes instead of one, and how a Cluster shares the load.
func spread(ctx context.Context, s settings) ([]row, error) {
	var rows []row
	if s.wants(fleet) {
		more, err := manyNodes(ctx, s)
		if err != nil {
			return nil, err
		}
		rows = append(rows, more...)
	}
	if s.wants(balance) {
		r, err := clusterBalance(ctx, s)
		if err != nil {
			return nil, err
		}
		rows = append(rows, r)
	}
	return rows, nil
}

func (s settings) ourJob(measure string, c contender) job {
	return job{Store: onRedis, System: ours, Measure: measure, Tasks: int(float64(c.tasks) * s.part)}
}

func manyNodes(ctx context.Context, s settings) ([]row, error) {
	c, err := find(onRedis, ours)
	if err != nil {
		return nil, err
	}
	var one samples
	fleets := []string{fleet, alike}
	many := make([]samples, len(fleets))
	for range s.rounds {
		if err := one.take(ctx, s, s.ourJob(endToEnd, c)); err != nil {
			return nil, err
		}
		for i, m := range fleets {
			if err := many[i].take(ctx, s, s.ourJob(m, c)); err != nil {
				return nil, err
			}
		}
	}
	base := one.rows(endToEnd, c)
	var rows []row
	for i, m := range fleets {
		more := many[i].rows(m, c)
		more[0].Ratio = more[0].Value.Median / base[0].Value.Median
		more[1].Ratio = base[1].Value.Median / more[1].Value.Median
		more[1].Goal = "≥ 0.83× of one node"
		rows = append(rows, more...)
	}
	return rows, nil
}

const (
	balance    = "load of the busiest of 3 primaries"
	partitions = 64 // their slots fall into three equal ranges as 21, 22 and 21; 16 of them would as 6, 6 and 4
)

// clusterBalance runs end to end on three primaries and compares the processor
// time that each of them used.
func clusterBalance(ctx context.Context, s settings) (row, error) {
	c, err := find(onRedis, ours)
	if err != nil {
		return row{}, err
	}
	var a samples
	var shares []float64
	for range s.rounds {
		fsync, err := fsyncRate(s.dir)
		if err != nil {
			return row{}, err
		}
		before := load()
		out, used, err := onFreshCluster(ctx, s, s.ourJob(endToEnd, c))
		if err != nil {
			return row{}, err
		}
		a.add(out, fsync, before)
		least, most := min(used[0], used[1], used[2]), max(used[0], used[1], used[2])
		shares = append(shares, most/least)
		fmt.Fprintf(s.log, "%-24s %-14s %.3f s of processor time, %.0f/s\n", "3 primaries", ours, used, out.rate())
	}
	r := a.rows(endToEnd, c)[0]
	r.Measure, r.Unit, r.Value = balance, "× the least", summarize(shares)
	r.Ratio, r.Goal = 1/r.Value.Median, "≥ 0.91× (10 %)"
	return r, nil
}

func onFreshCluster(ctx context.Context, s settings, j job) (out outcome, used [3]float64, err error) {
	dir, err := os.MkdirTemp(s.dir, "cluster-")
	if err != nil {
		return out, used, err
	}
	defer os.RemoveAll(dir)
	var servers []*redisServer
	defer func() {
		for _, server := range servers {
			err = errors.Join(err, server.stop())
		}
	}()
	var hosts []string
	for range used {
		server, err := startRedis(ctx, dir, "--cluster-enabled", "yes")
		if err != nil {
			return out, used, err
		}
		servers, hosts = append(servers, server), append(hosts, server.addr())
	}
	if err := join(ctx, servers); err != nil {
		return out, used, err
	}
	var before [3]float64
	for i, server := range servers {
		u, err := usageOf(ctx, server.client)
		if err != nil {
			return out, used, err
		}
		before[i] = u.CPU
	}
	j.Path = fmt.Sprintf("redis+cluster://%s?partitions=%d", strings.Join(hosts, ","), partitions)
	if out, err = inChild(ctx, j); err != nil {
		return out, used, err
	}
	for i, server := range servers {
		u, err := usageOf(ctx, server.client)
		if err != nil {
			return out, used, err
		}
		used[i] = u.CPU - before[i]
	}
	return out, used, nil
}

// join makes a Cluster of servers that share the slots evenly, and waits until
// they agree.
func join(ctx context.Context, servers []*redisServer) error {
	const slots = 16384
	for i, s := range servers {
		if err := s.client.ClusterAddSlotsRange(ctx, i*slots/len(servers), (i+1)*slots/len(servers)-1).Err(); err != nil {
			return err
		}
		if err := s.client.ClusterMeet(ctx, "127.0.0.1", fmt.Sprint(servers[0].port)).Err(); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for _, s := range servers {
		for {
			text, err := s.client.ClusterInfo(ctx).Result()
			if err != nil {
				return fmt.Errorf("wait for the Cluster to agree: %w", err)
			}
			if strings.Contains(text, "cluster_state:ok") && strings.Contains(text, fmt.Sprintf("cluster_known_nodes:%d\r", len(servers))) {
				break
			}
			<-tick.C
		}
	}
	return nil
}

// holdSteady measures the capacity, then produces at half of it for a minute
// and fails if the backlog grows or the producer cannot keep its rate.
func holdSteady(ctx context.Context, s settings, w io.Writer) error {
	c, err := find(onRedis, ours)
	if err != nil {
		return err
	}
	var capacity samples
	for range s.rounds {
		if err := capacity.take(ctx, s, s.ourJob(endToEnd, c)); err != nil {
			return err
		}
	}
	full := capacity.rows(endToEnd, c)[0].Value
	j := job{Store: onRedis, System: ours, Measure: steady, Seconds: 60, Rate: int(full.Median / 2)}
	before := load()
	out, err := onFresh(ctx, s.dir, j)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "capacity %.0f/s (%.0f … %.0f, %d rounds); %d tasks at %d/s took %.1f s; backlog %.0f in the second quarter, %.0f in the last; load %.1f\n",
		full.Median, full.Min, full.Max, s.rounds, out.Tasks, j.Rate, out.Seconds, out.Early, out.Late, before)
	return growth(j, out)
}

// growth allows a tenth of a second's worth of noise, and the producer as much.
func growth(j job, out outcome) error {
	tenth := float64(j.Rate) / 10
	if out.Late > out.Early+tenth {
		return fmt.Errorf("the backlog grew from %.0f to %.0f tasks at %d/s", out.Early, out.Late, j.Rate)
	}
	if out.Seconds > j.Seconds+1 {
		return fmt.Errorf("the producer needed %.1f s for %.0f s of work at %d/s", out.Seconds, j.Seconds, j.Rate)
	}
	return nil
}
