package fault

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// traced are the system calls that change files, and those that say which file
// a number stands for. A server that uses one that player does not know fails the
// test, so that no change goes unseen.
const traced = "openat,open,creat,close,mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat,rmdir,link,linkat,symlink,symlinkat," +
	"ftruncate,truncate,fallocate,write,writev,pwrite64,pwritev,pwritev2,fsync,fdatasync,sync_file_range,copy_file_range,splice,msync,dup,dup2,dup3"

// recorder is the command that runs a program and writes down its calls. strace
// is the grandchild, so that signals reach the program.
func recorder(strace, file string) []string {
	return []string{strace, "-D", "-f", "-ttt", "-xx", "-s", "16777216", "-e", "signal=none", "-o", file, "-e", "trace=" + traced}
}

// call is one system call that succeeded.
type call struct {
	at   time.Time // when it returned; for those that begun() names, when it was made
	name string
	args string
	ret  int64
}

// begun are calls that take effect in the play when they are made and not when
// they return: a sync covers nothing that was written meanwhile, and a number is
// free from the moment its file is being closed.
func begun(name string) bool { return name == "fsync" || name == "fdatasync" || name == "close" }

var (
	tracedLine  = regexp.MustCompile(`^(\d+) +(\d+)\.(\d{6}) (.*)$`)
	resumedLine = regexp.MustCompile(`^<\.\.\. \w+ resumed>(.*)$`)
	callLine    = regexp.MustCompile(`^(\w+)\((.*)\) += (-?\d+)`)
)

// readTrace returns the calls of a trace in the order of their effects.
func readTrace(r io.Reader) ([]call, error) {
	var calls []call
	type half struct {
		text string
		at   time.Time
		slot int // in calls, for those that count from their begin
	}
	open := map[string]half{} // by thread
	scan := bufio.NewReaderSize(r, 1<<20)
	for n := 1; ; n++ {
		text, err := scan.ReadString('\n')
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		m := tracedLine.FindStringSubmatch(strings.TrimSuffix(text, "\n"))
		if m == nil {
			return nil, fmt.Errorf("line %d of the trace: %.200q", n, text)
		}
		thread, rest := m[1], m[4]
		seconds, _ := strconv.ParseInt(m[2], 10, 64) // digits, by the pattern
		micros, _ := strconv.ParseInt(m[3], 10, 64)
		h := half{text: rest, at: time.Unix(seconds, micros*1000), slot: -1}
		if strings.HasPrefix(rest, "+++") || strings.HasPrefix(rest, "---") {
			continue
		}
		if before, unfinished := strings.CutSuffix(rest, " <unfinished ...>"); unfinished {
			h.text = before
			if name, _, _ := strings.Cut(before, "("); begun(name) {
				h.slot = len(calls)
				calls = append(calls, call{at: h.at})
			}
			open[thread] = h
			continue
		}
		if tail := resumedLine.FindStringSubmatch(rest); tail != nil {
			first := open[thread]
			delete(open, thread)
			h.text, h.slot = first.text+tail[1], first.slot
			if h.slot >= 0 {
				h.at = first.at
			}
		}
		c, err := readCall(h.text)
		if err != nil {
			return nil, fmt.Errorf("line %d of the trace: %w", n, err)
		}
		c.at = h.at
		if h.slot >= 0 {
			calls[h.slot] = c
		} else {
			calls = append(calls, c)
		}
	}
	return calls, nil
}

// readCall reads a whole call. One that failed has no name.
func readCall(text string) (call, error) {
	m := callLine.FindStringSubmatch(text)
	if m == nil {
		if strings.HasSuffix(text, "= ?") || !strings.Contains(text, "(") {
			return call{}, nil // the process ended in it
		}
		return call{}, fmt.Errorf("no call: %.200q", text)
	}
	ret, err := strconv.ParseInt(m[3], 10, 64)
	if err != nil || ret < 0 {
		return call{}, err
	}
	return call{name: m[1], args: m[2], ret: ret}, nil
}

// arguments splits what stands between the parentheses; in a trace with -xx no
// string has a comma.
func (c call) arguments() []string { return strings.Split(c.args, ", ") }

// number reads an argument that is a number.
func number(s string) (int64, error) { return strconv.ParseInt(s, 0, 64) }

// bytesOf reads a string argument, all of it in hexadecimal.
func bytesOf(s string) ([]byte, error) {
	text, begins := strings.CutPrefix(s, `"`)
	text, ends := strings.CutSuffix(text, `"`)
	if !begins || !ends {
		return nil, fmt.Errorf("no whole string: %.100q", s)
	}
	out := make([]byte, 0, len(text)/4)
	for ; len(text) >= 4; text = text[4:] {
		b, err := strconv.ParseUint(text[2:4], 16, 8)
		if err != nil || text[:2] != `\x` {
			return nil, fmt.Errorf("no string in hexadecimal: %.100q", s)
		}
		out = append(out, byte(b))
	}
	if text != "" {
		return nil, errors.New("a string ends within a byte")
	}
	return out, nil
}

// readTraceOf waits until strace has written all about a process that ended,
// and reads it.
func readTraceOf(t *testing.T, file string, pid int) []call {
	t.Helper()
	last := fmt.Sprintf("%d ", pid)
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !endsWith(t, file, last) {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatal("strace has not said that the server ended")
		}
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	calls, err := readTrace(f)
	if err != nil {
		t.Fatal(err)
	}
	return calls
}

// endsWith reports whether the last line of a trace is the end of a process.
func endsWith(t *testing.T, file, prefix string) bool {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, min(info.Size(), 200))
	if _, err := f.ReadAt(b, info.Size()-int64(len(b))); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	end := lines[len(lines)-1]
	return strings.HasPrefix(end, prefix) && strings.Contains(end, "+++ exited with")
}

func TestReadTrace(t *testing.T) {
	const trace = `7 1.000001 openat(AT_FDCWD, "\x2f\x61", O_RDWR|O_CREAT, 0600) = 3
8 1.000002 pwrite64(3, "\x01\x02", 2, 0 <unfinished ...>
7 1.000003 fsync(3 <unfinished ...>
8 1.000004 <... pwrite64 resumed>) = 2
7 1.000005 <... fsync resumed>) = 0
7 1.000006 unlink("\x2f\x62") = -1 ENOENT (No such file or directory)
8 1.000007 close(3) = 0
7 1.000008 +++ exited with 0 +++
`
	calls, err := readTrace(strings.NewReader(trace))
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, c := range calls {
		got += fmt.Sprintf("%s@%d ", c.name, c.at.Nanosecond()/1000)
	}
	if want := "openat@1 fsync@3 pwrite64@4 @6 close@7 "; got != want {
		t.Errorf("read %q, want %q", got, want)
	}
	b, err := bytesOf(calls[2].arguments()[1])
	if err != nil || string(b) != "\x01\x02" {
		t.Errorf("bytes %q, %v", b, err)
	}
}
