package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ticks is the unit of CPU times in /proc, per second. It is 100 on every
// architecture that Go runs on.
const ticks = 100

// usage is what a process has used since it started.
type usage struct {
	cpu  float64 // seconds, user and system, of all its threads and the children it waited for
	peak int64   // bytes of memory held at once at most
}

// since is what was used after an earlier reading; the peak is that of the
// whole life.
func (u usage) since(before usage) usage { return usage{cpu: u.cpu - before.cpu, peak: u.peak} }

// usageOf reads what a running process has used.
func usageOf(pid int) (usage, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return usage{}, fmt.Errorf("reading the CPU time of process %d: %w", pid, err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return usage{}, fmt.Errorf("reading the memory of process %d: %w", pid, err)
	}
	cpu, err := cpuSeconds(stat)
	if err != nil {
		return usage{}, fmt.Errorf("reading the CPU time of process %d: %w", pid, err)
	}
	peak, err := peakBytes(status)
	if err != nil {
		return usage{}, fmt.Errorf("reading the memory of process %d: %w", pid, err)
	}
	return usage{cpu: cpu, peak: peak}, nil
}

// How a process is found idle: by taking at most one tick of CPU time in calm,
// within busyTime.
const (
	calm     = 300 * time.Millisecond
	busyTime = 10 * time.Minute
)

// idle waits until a process has nothing to do, and returns what it has used.
func idle(ctx context.Context, pid int) (usage, error) {
	ctx, cancel := context.WithTimeout(ctx, busyTime)
	defer cancel()
	again := time.NewTicker(calm)
	defer again.Stop()
	before, err := usageOf(pid)
	for err == nil {
		select {
		case <-ctx.Done():
			return usage{}, fmt.Errorf("waiting for process %d to have nothing to do: %w", pid, ctx.Err())
		case <-again.C:
		}
		var now usage
		if now, err = usageOf(pid); err == nil && now.cpu-before.cpu < 1.5/ticks {
			return now, nil
		}
		before = now
	}
	return usage{}, err
}

// cpuSeconds reads utime, stime, cutime and cstime: fields 14 to 17 of
// /proc/PID/stat. The name before them is in brackets and may hold anything.
func cpuSeconds(stat []byte) (float64, error) {
	end := bytes.LastIndexByte(stat, ')')
	fields := strings.Fields(string(stat[end+1:]))
	if end < 0 || len(fields) < 15 {
		return 0, fmt.Errorf("unexpected form: %q", stat)
	}
	sum := 0.0
	for _, f := range fields[11:15] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		sum += float64(n)
	}
	return sum / ticks, nil
}

// peakBytes reads VmHWM of /proc/PID/status.
func peakBytes(status []byte) (int64, error) {
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("no VmHWM line")
}

// calibration is the CPU time, in seconds, of hashing 256 MiB on this machine
// now. A bar with an absolute time in its promise is measured in these.
func (b *bench) calibration() (float64, error) {
	if b.loop > 0 {
		return b.loop, nil
	}
	block := make([]byte, 1<<20)
	before, err := ownCPU()
	if err != nil {
		return 0, err
	}
	for range 256 {
		sum := sha256.Sum256(block)
		block[0] = sum[0] // each round needs the one before
	}
	after, err := ownCPU()
	if err != nil {
		return 0, err
	}
	b.loop = after - before
	return b.loop, nil
}

// ownCPU is the CPU time of this process in seconds.
func ownCPU() (float64, error) {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0, fmt.Errorf("reading the CPU time of this process: %w", err)
	}
	return seconds(r.Utime) + seconds(r.Stime), nil
}

func seconds(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }
