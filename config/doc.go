// Package config reads a file of jobs: file → template → YAML → jobs, every error with its place.
//
// # Model
//
// [Load] reads a file, renders its Jinja2 templates ([github.com/jobcontrol/jobcontrol/config/template]),
// parses the result as YAML 1.2, and makes jobs of it, which [jobcontrol.NewJobs] checks. A template error
// or a YAML error ends this at once; from there on all errors of the file and of the files it includes are
// found, and returned together as [Diagnostics]. Nothing is ever ignored: a key that is not known is an
// error, and so is one whose feature does not exist yet.
//
//	storage: sqlite:state.db            where builds are kept
//	services: {web: {concurrency: 4}}   limits that hold on all workers together
//	project: crawler                    the name under which a fleet knows these definitions
//	secret:                             values that are never shown: where each is read from
//	  token: {env: CRAWLER_TOKEN}
//	defaults: {tries: 3}                keys for every job that lacks them
//	include: [jobs.d/*.yaml]            more files with jobs, defaults, secret and meta
//	meta: {owner: web}                  whatever you like
//	jobs:
//	- id: crawl
//	  function: mycrawler:crawl
//	  kwargs: {url: http://example.com, token: !secret token}
//	- id: report
//	  run: ./report "$1"
//	  args: [!retval crawl.path]
//	  dependencies: [crawl]
//
// # Values
//
// In args, kwargs and meta the core schema of YAML 1.2 holds: no, off and 1:30 are texts, 0777 is the number
// 777, 0o777 is octal, dates are texts. [File.Warnings] tells of such values, since other tools read them
// differently. Keys that want a boolean also take yes, no, on and off; durations are a number of seconds or
// 1.5s, 5m, 1h30m, 2d.
//
//	!retval NAME[.path]   the result of a dependency, also {job: NAME, path: PATH}
//	!secret NAME          a secret, read on the worker at the attempt
//	!env NAME             an environment variable, read now and visible; also {name: NAME, default: TEXT}
//
// # Places
//
// Every job's Source and every diagnostic tells file:line:column. Where a template made a line, that is the
// place in the template; where it cannot be known it is a line of the expanded text, marked as such.
//
// # Limits
//
//	file and rendered text   64 MiB
//	values                   5 million, aliases expanded
//	nesting                  64 levels
//	rendering                5 s and 512 MiB in a child process, see package template
package config
