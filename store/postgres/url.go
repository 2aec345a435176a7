package postgres

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jobcontrol/jobcontrol"
)

// defaultPrefix begins the names of our tables where nothing else was said.
const defaultPrefix = "jobcontrol_"

// Names that need no quotes in a shell, and none of PostgreSQL's own. Those of
// partitions and indexes are longer than the prefix by up to 33 bytes of 63.
var (
	prefixPattern = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,29}$`)
	schemaPattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,62}$`)
)

// parse reads the URL, sets Schema and TablePrefix where they are not set, and
// returns how to connect and what to call the database. Beside what PostgreSQL's
// own programs and pgxpool know, the URL may have the parameters table_prefix and
// schema, or search_path, whose first name is the schema. No error shows a password.
func (o *Options) parse() (cfg *pgxpool.Config, name string, err error) {
	refuse := func(format string, args ...any) error {
		return &jobcontrol.Error{
			Code:    jobcontrol.Invalid,
			Message: "postgresql: " + fmt.Sprintf(format, args...),
			Hint:    "postgresql://USER:PASSWORD@HOST:PORT/DATABASE?schema=SCHEMA&table_prefix=PREFIX",
		}
	}
	if cfg, err = pgxpool.ParseConfig(o.URL); err != nil {
		return nil, "", refuse("the URL of the database is not valid%s", why(err, o.URL))
	}
	params := cfg.ConnConfig.RuntimeParams
	take := func(key string) string {
		defer delete(params, key)
		return params[key]
	}
	path, _, _ := strings.Cut(take("search_path"), ",")
	for _, v := range []string{take("schema"), strings.Trim(strings.TrimSpace(path), `"`)} {
		if o.Schema == "" {
			o.Schema = v
		}
	}
	for _, v := range []string{take("table_prefix"), defaultPrefix} {
		if o.TablePrefix == "" {
			o.TablePrefix = v
		}
	}
	if o.Schema != "" && (!schemaPattern.MatchString(o.Schema) || strings.HasPrefix(o.Schema, "pg_")) {
		return nil, "", refuse("schema %q: letters, digits and _, at most 63, not beginning with a digit or pg_", o.Schema)
	}
	if !prefixPattern.MatchString(o.TablePrefix) {
		return nil, "", refuse("table_prefix %q: small letters, digits and _, at most 30, not beginning with a digit", o.TablePrefix)
	}
	c := cfg.ConnConfig
	name = fmt.Sprintf("%s on %s", c.Database, c.Host)
	if o.Schema != "" {
		name += ", schema " + o.Schema
	}
	return cfg, name, nil
}

// why is the reason that an error gives, if it can be told without the URL,
// which may have a password in any of its parts.
func why(err error, text string) string {
	u, bad := url.Parse(text)
	if bad != nil {
		return "" // nobody knows what is what in it
	}
	reason := err.Error()
	if i := strings.LastIndex(reason, "`: "); i >= 0 {
		reason = reason[i+3:] // before it stands the URL
	}
	password, _ := u.User.Password()
	for _, secret := range []string{password, u.Query().Get("password"), u.Query().Get("sslpassword")} {
		if secret != "" && strings.Contains(reason, secret) {
			return ""
		}
	}
	return ": " + reason
}
