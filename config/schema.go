package config

import (
	"encoding/json"
	"slices"

	"github.com/jobcontrol/jobcontrol"
)

// Schema returns the JSON Schema of the file, for editors: its structure, as it
// is after templates, and what each key is for. It takes whatever [Load] takes;
// what needs more than the structure to be told (a missing dependency, a path
// that leads nowhere) only Load refuses.
func Schema() ([]byte, error) {
	properties := func(keys []string, of map[string]property) map[string]any {
		out := map[string]any{}
		for _, k := range keys {
			out[k] = of[k].schema()
		}
		return map[string]any{"type": []string{"object", "null"}, "properties": out, "additionalProperties": false}
	}
	defs := shapes()
	defs["job"] = properties(jobKeys, jobSchema)
	defs["task"] = map[string]any{"anyOf": []any{shapeRef("text"), shapeRef("list"), properties(taskKeys, taskSchema)}}
	defs["http"] = map[string]any{"anyOf": []any{shapeRef("text"), properties(httpKeys, httpSchema)}}
	defs["service"] = properties(serviceKeys, serviceSchema)
	defs["retention"] = properties(retentionKeys, retentionSchema)
	defs["log ages"] = map[string]any{"anyOf": []any{shapeRef("duration"), properties(logLevels, logAgesSchema)}}
	file := properties(slices.Concat(fileKeys, []string{"celery", "webapp"}), fileSchema)
	file["$schema"] = "http://json-schema.org/draft-07/schema#"
	file["title"] = "A file of jobs for JobControl"
	file["definitions"] = defs
	data, err := json.MarshalIndent(file, "", "  ")
	if err != nil {
		return nil, jobcontrol.Errorf(jobcontrol.Internal, "schema: %v", err)
	}
	return append(data, '\n'), nil
}

// property is what is known of a key: its shape, and what it is for.
type property struct{ shape, about string }

var retentionSchema = map[string]property{
	"builds": {"duration", "builds that ended longer ago are removed, but those still needed"},
	"logs":   {"log ages", "log records of builds that have ended are removed when they are older; default: 15 days for debug to a year for any"},
}

var logAgesSchema = map[string]property{
	"debug":    {"duration", "of records of level debug"},
	"info":     {"duration", "… of info and below"},
	"warning":  {"duration", "… of warning and below"},
	"error":    {"duration", "… of error and below"},
	"critical": {"duration", "… of critical and below"},
	"any":      {"duration", "of all records"},
}

func (p property) schema() map[string]any {
	return map[string]any{"allOf": []any{shapeRef(p.shape)}, "description": p.about}
}

func shapeRef(name string) map[string]any { return map[string]any{"$ref": "#/definitions/" + name} }

// shapes are those that have no keys of their own. Texts may be written as
// numbers and the like, booleans as YAML wrote them once, and every key may be
// null: then it is as if it were not there.
func shapes() map[string]any {
	of := func(types ...string) map[string]any { return map[string]any{"type": append(types, "null")} }
	list := func(item string) map[string]any {
		return map[string]any{"type": []string{"array", "null"}, "items": shapeRef(item)}
	}
	mapping := func(value string) map[string]any {
		return map[string]any{"type": []string{"object", "null"}, "additionalProperties": shapeRef(value)}
	}
	return map[string]any{
		"any": map[string]any{}, "text": of("string", "number", "boolean"), "number": of("integer", "string"),
		"duration": of("number", "string"), "flag": of("boolean", "string"), "items": of("array", "object", "string"), "list": of("array"), "mapping": of("object"),
		"texts": list("text"), "jobs": list("job"), "texts by name": mapping("text"), "numbers by name": mapping("number"),
		"services": mapping("service"), "flag or texts": map[string]any{"anyOf": []any{shapeRef("flag"), shapeRef("texts")}},
		"text or texts": map[string]any{"anyOf": []any{shapeRef("text"), shapeRef("texts")}},
	}
}

var fileSchema = map[string]property{
	"jobs":      {"jobs", "the jobs"},
	"defaults":  {"job", "keys for every job of this file that lacks them"},
	"secret":    {"mapping", "names of secrets, and where to read them: env, file or command"},
	"storage":   {"text", "sqlite:PATH, postgresql://USER@HOST/DATABASE or memory:"},
	"services":  {"services", "limits of services, on all workers together"},
	"retention": {"retention", "how long is kept what is over: serve and prune remove what is older"},
	"include":   {"text or texts", "paths or globs of further files, below this file's directory"},
	"project":   {"text", "a name that separates files in one store"},
	"meta":      {"mapping", "your own keys"},
	"template":  {"flag", "false switches templates off"},
	"celery":    {"any", "ignored: of old files"},
	"webapp":    {"any", "ignored: of old files"},
}

var jobSchema = map[string]property{
	"id":               {"text", "its name: 1 to 128 characters without /"},
	"title":            {"text", "one line for people"},
	"notes":            {"text", "more for people"},
	"tags":             {"texts", "words to select jobs by"},
	"function":         {"text", "short for run: {function: …}"},
	"run":              {"task", "a task that does the work"},
	"check":            {"task", "a task that passes when there is nothing to do"},
	"cleanup":          {"task", "a task that is executed when the Run is over, if run was"},
	"on_delete":        {"text", "a function that is called when a build is deleted"},
	"cleanup_function": {"text", "the old name of on_delete"},
	"repr_function":    {"text", "a function that describes a build in one line"},
	"args":             {"list", "positional arguments of all three tasks"},
	"kwargs":           {"mapping", "keyword arguments of all three tasks"},
	"env":              {"mapping", "environment of commands, beside the inherited one"},
	"cwd":              {"text", "directory of commands, relative to the file"},
	"stdin":            {"text", "json: commands read their arguments from standard input"},
	"result":           {"text", "what a command returns: stdout, json or lines"},
	"dependencies":     {"texts", "ids of jobs that are built before"},
	"pinned_builds":    {"numbers by name", "the build of a dependency to use"},
	"tries":            {"number", "attempts in all"},
	"retry_delay":      {"duration", "between attempts, at least: seconds, or 1h30m"},
	"backoff":          {"text", "constant or exponential"},
	"retry_from":       {"text", "start or end of the attempt: from where the delay counts"},
	"exit_codes":       {"texts by name", "what an exit status means: retry, skip, suspend, user or error"},
	"timeout":          {"duration", "limit of an attempt, which is then killed"},
	"soft_timeout":     {"duration", "limit of an attempt, which is then asked to stop"},
	"grace":            {"duration", "between asking and killing"},
	"max_lost":         {"number", "attempts that may be lost with their program"},
	"on_lost":          {"text", "retry or fail"},
	"protected":        {"flag", "it wants a confirmation"},
	"protect":          {"flag", "the old name of protected"},
	"leave_running":    {"flag", "processes may outlive the command"},
	"service":          {"text", "the queue of its builds"},
	"priority":         {"number", "a point is worth a minute of waiting"},
	"for_each":         {"items", "a list, a mapping or a result: one build per item"},
	"unique":           {"flag or texts", "while a build with these arguments is unfinished no other is made"},
	"meta":             {"mapping", "your own keys"},
}

var taskSchema = map[string]property{
	"function": {"text", "a function of the program"},
	"shell":    {"text", "a script for /bin/sh"},
	"command":  {"list", "a program and its arguments"},
	"http":     {"http", "a request"},
	"args":     {"list", "instead of the job's"},
	"kwargs":   {"mapping", "instead of the job's"},
}

var httpSchema = map[string]property{
	"method":           {"text", "GET, POST, …"},
	"url":              {"any", "where to"},
	"headers":          {"mapping", "header fields"},
	"body":             {"any", "a text to send"},
	"json":             {"any", "values to send as JSON"},
	"expect":           {"any", "the status that passes"},
	"result":           {"text", "what of the answer is the result"},
	"timeout":          {"duration", "limit of the request"},
	"follow_redirects": {"any", "whether redirects are followed"},
}

var serviceSchema = map[string]property{
	"concurrency":     {"number", "builds executed at a time"},
	"key":             {"text or texts", "paths into the arguments"},
	"key_concurrency": {"number", "builds with the same key executed at a time"},
	"rate":            {"text", "builds taken per time: 100/s, 10/m, 5/30s"},
	"priority":        {"number", "added to that of its builds"},
	"fallback":        {"text", "the service of builds that exceeded their soft_timeout"},
	"paused":          {"flag", "nothing is taken"},
	"draining":        {"flag", "nothing new is accepted"},
}
