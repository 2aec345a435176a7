package cli

import (
	"context"
	"net/url"
	"os"

	"github.com/spf13/cobra"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/sqlite"
)

func newBackup(e *environment) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write a copy of the store to a file",
		Long: `Write a copy of the store, an SQLite file, while others go on working with it: all
that was durable at one moment. The copy is checked, and nobody but its owner may
read it. A copy made by other means while a program uses the store may be damaged.

A store in PostgreSQL is copied by PostgreSQL's own means: pg_dump, pg_basebackup.`,
		Example: `  jobcontrol backup state-monday.db
  jobcontrol backup --force /backup/state.db
  jobcontrol restore state-monday.db`,
		Args: arguments(1, 1, "a file to write"),
		RunE: func(cmd *cobra.Command, args []string) error { return backup(cmd.Context(), e, args[0], force) },
	}
	cmd.Flags().BoolVar(&force, "force", false, "replace the file if it is there")
	return cmd
}

func newRestore(e *environment) *cobra.Command {
	return &cobra.Command{
		Use:   "restore FILE",
		Short: "Put a copy of the store in its place",
		Long: `Put a copy that ` + "`backup`" + ` wrote in the place of the store. It is refused while a
program uses the store. The copy is checked before; what was there is kept beside
it. What was being executed when the copy was made is queued again, or its run is
interrupted; a program that executes it still can write nothing any more.`,
		Example: `  jobcontrol restore state-monday.db`,
		Args:    arguments(1, 1, "a file that backup wrote"),
		RunE:    func(cmd *cobra.Command, args []string) error { return restore(cmd.Context(), e, args[0]) },
	}
}

func backup(ctx context.Context, e *environment, path string, force bool) error {
	place, err := e.fileToCopy(ctx, "pg_dump -Fc -f FILE")
	if err != nil {
		return err
	}
	if missing(place) {
		return noStore(place)
	}
	store, err := sqlite.Open(ctx, place.path, sqlite.Options{})
	if err != nil {
		return err
	}
	defer store.Close()
	if err := store.Backup(ctx, path, force); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return jobcontrol.Errorf(jobcontrol.Unavailable, "the copy is gone: %v", err)
	}
	if e.json() {
		return e.document(map[string]any{"store": place.String(), "file": path, "bytes": info.Size()})
	}
	e.printf("%s is copied to %s: %s", line(place.String()), line(path), plural(int(info.Size()), "byte"))
	return nil
}

func restore(ctx context.Context, e *environment, path string) error {
	place, err := e.fileToCopy(ctx, "pg_restore --clean --if-exists FILE -d")
	if err != nil {
		return err
	}
	kept, err := sqlite.Restore(ctx, path, place.path, sqlite.Options{})
	if err != nil {
		return err
	}
	if e.json() {
		return e.document(map[string]any{"store": place.String(), "file": path, "kept": orNull(kept)})
	}
	e.printf("%s is restored from %s", line(place.String()), line(path))
	if kept != "" {
		e.printf("what was there is kept in %s", line(kept))
	}
	return nil
}

// fileToCopy is the SQLite file of the store; of another store it says how that
// is copied.
func (e *environment) fileToCopy(ctx context.Context, command string) (place, error) {
	p, err := e.place(ctx)
	switch {
	case err != nil:
		return p, err
	case p.memory:
		return p, usage("", "a store in memory has no file to copy")
	case p.postgres != "":
		return p, usage("`"+postgresCommand(command, p.postgres)+"`, or pg_basebackup; what to do after going back is in docs/postgres.md",
			"a store in PostgreSQL is copied by PostgreSQL's own means")
	}
	return p, nil
}

// postgresCommand is a command of PostgreSQL for a database and its schema: the
// URL is without password, and without what only this program understands.
func postgresCommand(command, text string) string {
	u, err := url.Parse(shownURL(text))
	if err != nil {
		return command
	}
	q := u.Query()
	schema := q.Get("schema")
	if schema == "" {
		schema = q.Get("search_path")
	}
	for _, own := range []string{"schema", "search_path", "table_prefix"} {
		q.Del(own)
	}
	u.RawQuery = q.Encode()
	if schema != "" && command[:7] == "pg_dump" {
		command += " -n '" + schema + "'"
	}
	return command + " '" + u.String() + "'"
}
