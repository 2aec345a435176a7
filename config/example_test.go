package config_test

import (
	"context"
	"fmt"

	"github.com/jobcontrol/jobcontrol/config"
)

func Example() {
	file := `
{% macro website(name, url) %}
- id: crawl_{{ name }}
  function: mycrawler:crawl
  kwargs: {url: {{ url }}}
- id: process_{{ name }}
  function: mycrawler:process
  kwargs: {storage: !retval crawl_{{ name }}}
  dependencies: [crawl_{{ name }}]
{% endmacro %}
jobs:
{{ website('com', 'http://example.com') }}
{{ website('org', 'http://example.org') }}
`
	// A program whose main calls config.Child first gives Child: config.ChildCommand().
	f, err := config.Parse(context.Background(), "jobs.yaml", []byte(file), config.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, j := range f.Jobs.All() {
		fmt.Println(j.Source, j.ID, j.Kwargs, j.Dependencies)
	}
	// Output:
	// jobs.yaml:3:3 crawl_com map[url:http://example.com] []
	// jobs.yaml:6:3 process_com map[storage:Retval('crawl_com')] [crawl_com]
	// jobs.yaml:3:3 crawl_org map[url:http://example.org] []
	// jobs.yaml:6:3 process_org map[storage:Retval('crawl_org')] [crawl_org]
}

func ExampleDiagnostics() {
	file := `jobs:
- id: crawl
  run: ./crawl
  tires: 3
- id: report
  run: ./report
  dependencies: [crwal]
`
	_, err := config.Parse(context.Background(), "jobs.yaml", []byte(file), config.Options{})
	fmt.Println(err)
	// Output:
	// jobs.yaml:4:3: unknown key "tires" in a job
	//   4 |   tires: 3
	//     |   ^
	//   hint: did you mean "tries"? Keys of your own go under `meta:`
	// jobs.yaml:7:18: there is no job "crwal"
	//   7 |   dependencies: [crwal]
	//     |                  ^
	//   hint: did you mean "crawl"?
}
