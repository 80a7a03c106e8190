package registry_test

import (
	"flag"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/testparts/httpscript"
)

var update = flag.Bool("update", false, "write the answers that came into testdata")

// TestScripts plays testdata/*.txtar. Beside what all scripts know there are
//
//	admit|deny|withdraw|stay REPOSITORY@DIGEST [SENTENCE or TIME]
//	entry OUTCOME [SENTENCE] is what gates say about tags for what is admitted
//	clock DURATION           lets time pass
//	restart                  forgets what the process remembers
func TestScripts(t *testing.T) {
	httpscript.Run(t, "testdata", *update, func(t *testing.T) *httpscript.World {
		w := newWorld(t)
		w.serve()
		t.Cleanup(func() {
			if w.log.Len() > 0 {
				t.Errorf("logged:\n%s", w.log)
			}
		})
		s := &httpscript.World{URL: w.url, Hide: []string{"Docker-Distribution-Api-Version"}, As: func(name string, r *http.Request) {
			if name != "anonymous" {
				r.Header.Set("Authorization", "Bearer "+name)
			}
		}}
		judge := func(state repo.State) func([]string) {
			return func(args []string) { w.judge(args[0], state, strings.Join(args[1:], " "), time.Time{}) }
		}
		s.Commands = map[string]func([]string){
			"admit": judge(repo.Admitted), "deny": judge(repo.Denied), "withdraw": judge(repo.Withdrawn),
			"stay": func(args []string) {
				until, err := time.Parse(time.RFC3339, args[1])
				if err != nil {
					t.Fatal(err)
				}
				w.judge(args[0], repo.Admitted, "", until)
			},
			"entry": func(args []string) { w.outcome, w.why = api.Outcome(args[0]), strings.Join(args[1:], " ") },
			"clock": func(args []string) {
				d, err := time.ParseDuration(args[0])
				if err != nil {
					t.Fatal(err)
				}
				w.add(d)
			},
			"restart": func([]string) {
				w.start()
				w.serve()
				s.URL = w.url
			},
		}
		return s
	})
}
