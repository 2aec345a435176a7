// Crawl is JobControl's own example made real: it registers two functions,
// embeds the whole command line, and runs jobs.yaml, in which each web site is
// crawled over HTTP and then processed.
//
//	go run ./examples/crawl serve &       # three small sites on loopback
//	go run ./examples/crawl -c examples/crawl/jobs.yaml run all
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"regexp"
	"sort"
	"strings"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/cli"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		serve(os.Args[2:])
		return
	}
	reg := jobcontrol.NewRegistry()
	jobcontrol.Handle(reg, "mycrawler:crawl", crawl).Describe("Fetches every page of a site, starting at url.")
	jobcontrol.Handle(reg, "mycrawler:process", process).Describe("Counts the words of the pages that a crawl stored.")
	jobcontrol.Handle(reg, "mycrawler:forget", forget).Describe("Removes what a crawl stored, when its build is deleted.")
	os.Exit(cli.Main(reg))
}

// Site is what crawl is called with.
type Site struct {
	URL string `json:"url"`
	Max int    `json:"max,omitempty"` // pages; default 5000
}

// Storage is what crawl returns: a pointer to the pages, and what was found.
type Storage struct {
	File   string   `json:"file"` // one JSON string per page
	Pages  int      `json:"pages"`
	Bytes  int64    `json:"bytes"`
	Broken []string `json:"broken"` // the first links that lead nowhere
}

var links = regexp.MustCompile(`(?i)<a\s[^>]*?href\s*=\s*["']([^"'#]+)`)

func crawl(ctx context.Context, in Site) (Storage, error) {
	log := jobcontrol.Logger(ctx, "mycrawler")
	start, err := url.Parse(in.URL)
	if err != nil {
		return Storage{}, jobcontrol.UserError("%v", err)
	}
	if in.Max == 0 {
		in.Max = 5000
	}
	f, err := os.CreateTemp("", "crawl-*.jsonl")
	if err != nil {
		return Storage{}, err
	}
	defer f.Close()
	out := Storage{File: f.Name(), Broken: []string{}}
	store := json.NewEncoder(f)
	queue, seen := []string{start.String()}, map[string]bool{start.String(): true}
	found, fetched := map[string]int64{}, map[string]int64{} // by directory, for the progress tree
	found[section(start)]++
	for n := 0; n < len(queue) && n < in.Max; n++ {
		page, _ := url.Parse(queue[n])
		body, status, err := fetch(ctx, queue[n])
		if err != nil && (n == 0 || ctx.Err() != nil) {
			return Storage{}, fmt.Errorf("fetch %s: %w", queue[n], err)
		}
		dir := section(page)
		fetched[dir]++
		jobcontrol.Report(ctx, "pages::"+dir, fetched[dir], found[dir], page.Path)
		if err != nil || status != http.StatusOK {
			log.Warn("a link leads nowhere", "url", queue[n], "status", status)
			if len(out.Broken) < 20 {
				out.Broken = append(out.Broken, queue[n])
			}
			continue
		}
		log.Debug("fetched", "url", queue[n], "bytes", len(body))
		out.Pages, out.Bytes = out.Pages+1, out.Bytes+int64(len(body))
		if err := store.Encode(body); err != nil {
			return Storage{}, err
		}
		for _, m := range links.FindAllStringSubmatch(body, -1) {
			next, err := page.Parse(html.UnescapeString(m[1]))
			if err != nil || next.Host != start.Host || seen[next.String()] {
				continue
			}
			seen[next.String()] = true
			found[section(next)]++
			queue = append(queue, next.String())
		}
	}
	log.Info("crawled", "url", in.URL, "pages", out.Pages, "bytes", out.Bytes)
	return out, nil
}

// section is the part of a site that a page counts to: its first directory, or its first letters.
func section(u *url.URL) string {
	parts := strings.Split(strings.Trim(u.Path, "/"), "/")
	if len(parts) > 1 {
		return parts[0]
	}
	name, _, _ := strings.Cut(strings.TrimSuffix(parts[0], path.Ext(parts[0])), "-")
	return cmp.Or(name, "home")
}

func fetch(ctx context.Context, url string) (string, int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 8<<20))
	return string(body), resp.StatusCode, err
}

// Words is what process returns.
type Words struct {
	Pages int            `json:"pages"`
	Words int            `json:"words"`
	Top   map[string]int `json:"top"` // the ten most frequent long words
}

var tags = regexp.MustCompile(`(?s)<script.*?</script>|<style.*?</style>|<[^>]*>`)

func process(ctx context.Context, in struct {
	Storage Storage `json:"input_storage"`
},
) (Words, error) {
	f, err := os.Open(in.Storage.File)
	if err != nil {
		return Words{}, err
	}
	defer f.Close()
	out, count := Words{Top: map[string]int{}}, map[string]int{}
	for pages := json.NewDecoder(f); pages.More(); out.Pages++ {
		if err := ctx.Err(); err != nil {
			return Words{}, context.Cause(ctx)
		}
		var body string
		if err := pages.Decode(&body); err != nil {
			return Words{}, err
		}
		for _, w := range strings.Fields(html.UnescapeString(tags.ReplaceAllString(body, " "))) {
			out.Words++
			if w = strings.ToLower(strings.Trim(w, `.,;:()"'`)); len(w) > 6 {
				count[w]++
			}
		}
		jobcontrol.Report(ctx, "counting", int64(out.Pages+1), int64(in.Storage.Pages), "")
	}
	words := make([]string, 0, len(count))
	for w := range count {
		words = append(words, w)
	}
	sort.Slice(words, func(i, j int) bool {
		return count[words[i]] > count[words[j]] || count[words[i]] == count[words[j]] && words[i] < words[j]
	})
	for _, w := range words[:min(10, len(words))] {
		out.Top[w] = count[w]
	}
	jobcontrol.Logger(ctx, "mycrawler").Info("counted", "words", out.Words)
	return out, nil
}

// forget is on_delete: the build that was deleted says what it stored.
func forget(ctx context.Context, _ jobcontrol.None) (jobcontrol.None, error) {
	x, err := jobcontrol.Current(ctx)
	if err != nil || len(x.Deleted.Result) == 0 {
		return jobcontrol.None{}, err
	}
	var s Storage
	if err := json.Unmarshal(x.Deleted.Result, &s); err != nil {
		return jobcontrol.None{}, err
	}
	return jobcontrol.None{}, os.Remove(s.File)
}
