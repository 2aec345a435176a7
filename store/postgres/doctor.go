package postgres

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

var _ jobcontrol.Examiner = (*Store)(nil)

const (
	deadRows         = 100_000          // of a table, where there are more of them than others
	longTransaction  = time.Minute      // what it could have seen cannot be cleaned up
	worseTransaction = 15 * time.Minute //
)

// Doctor examines the database; see [jobcontrol.Examiner].
func (s *Store) Doctor(ctx context.Context) ([]jobcontrol.Finding, error) {
	var found []jobcontrol.Finding
	err := s.readOne(ctx, func(c *conn) error {
		found = nil
		for _, look := range []func(*conn) (jobcontrol.Finding, error){
			examineSchema, examineIndexes, examineRows, examineTransactions, examineConnections, examineSettings,
		} {
			f, err := look(c)
			if err != nil {
				return err
			}
			found = append(found, f)
			if f.Check == "schema" && f.Severity == jobcontrol.SeverityError {
				return nil
			}
		}
		return nil
	})
	return found, s.public(err)
}

func examineSchema(c *conn) (jobcontrol.Finding, error) {
	v, err := c.schemaVersion()
	known := int64(len(migrationFiles))
	f := jobcontrol.Finding{Check: "schema", Severity: jobcontrol.SeverityOK, Text: fmt.Sprintf("version %d, database %s", v, c.s.name)}
	switch {
	case err != nil:
	case v == 0:
		f.Severity, f.Text, f.Mend = jobcontrol.SeverityError, "the store has no tables yet: database "+c.s.name, "`jobcontrol install`"
	case v < known:
		f.Severity = jobcontrol.SeverityError
		f.Text, f.Mend = fmt.Sprintf("version %d, this program wants version %d", v, known), "`jobcontrol install` upgrades it"
	case v > known:
		f.Severity = jobcontrol.SeverityError
		f.Text, f.Mend = fmt.Sprintf("version %d, this program knows versions up to %d", v, known), "upgrade jobcontrol"
	}
	return f, err
}

// indexNames finds the indexes that the migrations make, by their names in braces.
var indexNames = regexp.MustCompile(`(?m)^CREATE (?:UNIQUE )?INDEX \{\.([a-z_0-9]+)\}`)

// examineIndexes looks for indexes that somebody dropped, or that were not finished.
func examineIndexes(c *conn) (jobcontrol.Finding, error) {
	f := jobcontrol.Finding{Check: "indexes", Severity: jobcontrol.SeverityOK}
	valid := map[string]bool{}
	err := c.each(func(r *row) error {
		name := r.text()
		valid[name] = r.bool()
		return nil
	}, `SELECT c.relname::text, i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
		WHERE c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = '{meta}'::regclass)`)
	if err != nil {
		return f, err
	}
	var missing, invalid []string
	n := 0
	for _, file := range migrationFiles {
		text, err := migrations.ReadFile("migrations/" + file)
		if err != nil {
			return f, err
		}
		for _, m := range indexNames.FindAllStringSubmatch(string(text), -1) {
			n++
			name := c.s.opts.TablePrefix + m[1]
			switch ok, found := valid[name]; {
			case !found:
				missing = append(missing, name)
			case !ok:
				invalid = append(invalid, name)
			}
		}
	}
	f.Text = fmt.Sprintf("%d, all there and valid", n)
	if len(missing) > 0 {
		f.Severity, f.Text = jobcontrol.SeverityError, "missing: "+strings.Join(missing, ", ")
		f.Mend = "make them again as migrations/0001_init.sql of store/postgres does"
	} else if len(invalid) > 0 {
		f.Severity, f.Text = jobcontrol.SeverityError, "not valid: "+strings.Join(invalid, ", ")
		f.Mend = "REINDEX INDEX CONCURRENTLY for each"
	}
	return f, nil
}

// examineRows looks for rows that are dead and were not cleaned up, in the tables
// that change most.
func examineRows(c *conn) (jobcontrol.Finding, error) {
	f := jobcontrol.Finding{Check: "dead rows", Severity: jobcontrol.SeverityOK}
	var total int64
	err := c.each(func(r *row) error {
		name, live, dead, size := r.text(), r.int(), r.int(), r.int()
		total += dead
		if dead > deadRows && dead > live && f.Severity == jobcontrol.SeverityOK {
			f.Severity = jobcontrol.SeverityWarning
			f.Text = fmt.Sprintf("table %s has %d dead rows beside %d, in %d MiB", name, dead, live, size>>20)
			f.Mend = "autovacuum does not keep up: see `long transactions`, then autovacuum_vacuum_cost_limit; VACUUM " + name + " helps now"
		}
		return nil
	}, `SELECT s.relname::text, s.n_live_tup, s.n_dead_tup, pg_total_relation_size(s.relid) FROM pg_stat_user_tables s
		WHERE s.relid IN ('{builds}'::regclass, '{runs}'::regclass, '{workers}'::regclass, '{services}'::regclass, '{slots}'::regclass,
			'{heads}'::regclass, '{progress}'::regclass, '{shared}'::regclass)
		ORDER BY s.n_dead_tup DESC`)
	if f.Severity == jobcontrol.SeverityOK {
		f.Text = fmt.Sprintf("%d in the tables that change", total)
	}
	return f, err
}

// examineTransactions looks for transactions that keep dead rows from being cleaned up.
func examineTransactions(c *conn) (jobcontrol.Finding, error) {
	f := jobcontrol.Finding{Check: "long transactions", Severity: jobcontrol.SeverityOK, Text: "none holds back the cleaning up of dead rows"}
	_, err := c.first(func(r *row) {
		pid, name, state, age := r.int(), r.text(), r.text(), time.Duration(r.int())*time.Second
		if age < longTransaction {
			return
		}
		f.Severity = jobcontrol.SeverityWarning
		if age > worseTransaction {
			f.Severity = jobcontrol.SeverityError
		}
		f.Text = fmt.Sprintf("process %d (%s, %s) has been in a transaction for %v: dead rows stay until it ends", pid, name, state, age)
		f.Mend = fmt.Sprintf("end it, SELECT pg_terminate_backend(%d) if need be; idle_in_transaction_session_timeout prevents it", pid)
	}, `SELECT pid, coalesce(nullif(application_name, ''), 'no name')::text, coalesce(state, 'unknown')::text,
		extract(epoch FROM clock_timestamp() - xact_start)::bigint
		FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
		AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL OR state LIKE 'idle in transaction%') AND backend_type = 'client backend'
		ORDER BY xact_start LIMIT 1`)
	return f, err
}

func examineConnections(c *conn) (jobcontrol.Finding, error) {
	f := jobcontrol.Finding{Check: "connections", Severity: jobcontrol.SeverityOK}
	_, err := c.first(func(r *row) {
		used, ours, most := r.int(), r.int(), r.int()
		f.Text = fmt.Sprintf("%d of %d are used, %d of them by jobcontrol", used, most, ours)
		if used*10 > most*8 {
			f.Severity = jobcontrol.SeverityWarning
			f.Mend = "each worker opens up to eleven: raise max_connections, or put PgBouncer before the server"
		}
	}, `SELECT count(*), count(*) FILTER (WHERE application_name = 'jobcontrol'),
		(current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint)
		FROM pg_stat_activity WHERE backend_type = 'client backend'`)
	return f, err
}

// examineSettings looks at what durability depends on.
func examineSettings(c *conn) (jobcontrol.Finding, error) {
	f := jobcontrol.Finding{Check: "durability", Severity: jobcontrol.SeverityOK}
	_, err := c.first(func(r *row) {
		commit, fsync, version := r.text(), r.text(), r.text()
		f.Text = "server " + version + ", synchronous_commit " + commit + ", fsync " + fsync
		if commit == "off" || fsync == "off" {
			f.Severity = jobcontrol.SeverityWarning
			f.Mend = "a crash of the server may lose what was acknowledged: set both to on"
		}
	}, `SELECT current_setting('synchronous_commit'), current_setting('fsync'), current_setting('server_version')`)
	return f, err
}
