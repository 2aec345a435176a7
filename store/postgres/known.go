package postgres

import (
	"sync"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

// known are rows that never change, as this program remembers them, so that
// writing a build does not look them up. Their ids are stored with builds.
type known struct {
	mu          sync.RWMutex
	heads       map[jobKey]int64
	services    map[jobKey]int64
	origins     map[origin]int64
	definitions map[string]definition // by hash
	jobs        map[int64]jobKey      // heads by id
	names       map[int64]string      // services by id
	hashes      map[int64]string      // definitions by id
}

// jobKey is what names a head or a service.
type jobKey struct{ project, name string }

// origin is how a Run came to be.
type origin struct {
	verb, by, file string
	noCleanup      bool
}

func originOf(r *jobcontrol.Run) origin { return origin{string(r.Verb), r.By, r.File, r.NoCleanup} }

// definition is what the store itself wants to know of a job.
type definition struct {
	id      int64
	suspect bool // its builds are claimed alone
}

// most is how many rows of a kind are remembered.
const most = 100000

// clear forgets everything.
func (k *known) clear() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.heads, k.services, k.origins = map[jobKey]int64{}, map[jobKey]int64{}, map[origin]int64{}
	k.definitions, k.jobs, k.names, k.hashes = map[string]definition{}, map[int64]jobKey{}, map[int64]string{}, map[int64]string{}
}

// needs are the rows that some new builds need.
type needs struct {
	heads, services map[jobKey]int64
	origins         map[origin]int64
	definitions     map[string]definition
	bodies          map[string][]byte // of definitions
}

func newNeeds() *needs {
	return &needs{
		heads: map[jobKey]int64{}, services: map[jobKey]int64{}, origins: map[origin]int64{},
		definitions: map[string]definition{}, bodies: map[string][]byte{},
	}
}

// serviceOf is the name of the service that a build names.
func serviceOf(name string) string {
	if name == "" {
		return jobcontrol.DefaultService
	}
	return name
}

func (n *needs) add(r *jobcontrol.NewRun) {
	n.origins[originOf(&r.Run)] = 0
	for i := range r.Builds {
		b := &r.Builds[i]
		n.heads[jobKey{r.Run.Project, b.Build.Job}] = 0
		n.services[jobKey{r.Run.Project, serviceOf(b.Build.Service)}] = 0
		n.definitions[b.Hash] = definition{}
		n.bodies[b.Hash] = b.Definition
	}
}

// fill takes what is remembered and tells whether that was all.
func (k *known) fill(n *needs) bool {
	k.mu.RLock()
	defer k.mu.RUnlock()
	all := true
	for key := range n.heads {
		n.heads[key] = k.heads[key]
		all = all && n.heads[key] != 0
	}
	for key := range n.services {
		n.services[key] = k.services[key]
		all = all && n.services[key] != 0
	}
	for key := range n.origins {
		n.origins[key] = k.origins[key]
		all = all && n.origins[key] != 0
	}
	for hash := range n.definitions {
		n.definitions[hash] = k.definitions[hash]
		all = all && n.definitions[hash].id != 0
	}
	return all
}

// refer adds what is remembered of what plain builds refer to, and tells whether
// that was all. Builds mostly refer to the same as the one before.
func (k *known) refer(out []refs, creates []*createOp) ([]refs, bool) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	var last *jobcontrol.NewRun
	var r refs
	for _, o := range creates {
		for i := range o.many {
			n := &o.many[i]
			if last == nil || !sameRefs(last, n) {
				b := &n.Builds[0]
				d := k.definitions[b.Hash]
				r = refs{
					head: k.heads[jobKey{n.Run.Project, b.Build.Job}], service: k.services[jobKey{n.Run.Project, serviceOf(b.Build.Service)}],
					definition: d.id, origin: k.origins[originOf(&n.Run)], suspect: d.suspect,
				}
				if r.head == 0 || r.service == 0 || r.definition == 0 || r.origin == 0 {
					return nil, false
				}
				last = n
			}
			out = append(out, r)
		}
	}
	return out, true
}

// sameRefs tells whether two plain builds refer to the same.
func sameRefs(n, m *jobcontrol.NewRun) bool {
	a, b := &n.Builds[0], &m.Builds[0]
	return a.Build.Job == b.Build.Job && a.Hash == b.Hash && a.Build.Service == b.Build.Service &&
		n.Run.Project == m.Run.Project && originOf(&n.Run) == originOf(&m.Run)
}

// learn fills the needs, and makes the rows that do not exist. It is not part of
// the transaction that needs them, so that what is remembered exists whatever
// becomes of that.
func (s *Store) learn(c *conn, n *needs) error {
	if s.known.fill(n) {
		return nil
	}
	var projects, jobs, servers, services, verbs, authors, files, hashes, bodies []string
	var noCleanup, suspects, cleanups []bool
	var maxLost []int64
	for key, id := range n.heads {
		if id == 0 {
			projects, jobs = append(projects, key.project), append(jobs, key.name)
		}
	}
	for key, id := range n.services {
		if id == 0 {
			servers, services = append(servers, key.project), append(services, key.name)
		}
	}
	for o, id := range n.origins {
		if id == 0 {
			verbs, authors, files, noCleanup = append(verbs, o.verb), append(authors, o.by), append(files, o.file), append(noCleanup, o.noCleanup)
		}
	}
	for hash, d := range n.definitions {
		if d.id == 0 {
			p := codec.PolicyOf(n.bodies[hash])
			hashes, bodies = append(hashes, hash), append(bodies, string(n.bodies[hash]))
			maxLost, suspects, cleanups = append(maxLost, int64(p.MaxLost)), append(suspects, p.Fatal), append(cleanups, p.Cleanup)
		}
	}
	c.queue(nil, `INSERT INTO {heads} (project, job) SELECT * FROM unnest($1, $2) u(project, job) ORDER BY 1, 2 ON CONFLICT DO NOTHING`, projects, jobs)
	c.queue(nil, `INSERT INTO {services} (project, name) SELECT * FROM unnest($1, $2) u(project, name) ORDER BY 1, 2 ON CONFLICT DO NOTHING`, servers, services)
	c.queue(nil, `INSERT INTO {origins} (verb, author, file, no_cleanup) SELECT * FROM unnest($1, $2, $3, $4) u(a, b, c, d) ORDER BY 1, 2, 3, 4
		ON CONFLICT DO NOTHING`, verbs, authors, files, noCleanup)
	c.queue(nil, `INSERT INTO {definitions} (hash, body, max_lost, suspect, cleanup) SELECT * FROM unnest($1, $2, $3, $4, $5) u(a, b, c, d, e) ORDER BY 1
		ON CONFLICT DO NOTHING`, hashes, bodies, maxLost, suspects, cleanups)
	if err := c.send(); err != nil {
		return err
	}
	k := &s.known
	c.queue(func(r *row) error {
		k.rememberHead(r.int(), jobKey{r.text(), r.text()})
		return nil
	}, `SELECT h.id, h.project, h.job FROM unnest($1, $2) u(project, job) JOIN {heads} h ON h.project = u.project AND h.job = u.job`, projects, jobs)
	c.queue(func(r *row) error {
		k.rememberService(r.int(), jobKey{r.text(), r.text()})
		return nil
	}, `SELECT s.id, s.project, s.name FROM unnest($1, $2) u(project, name) JOIN {services} s ON s.project = u.project AND s.name = u.name`, servers, services)
	c.queue(func(r *row) error {
		id := r.int()
		o := origin{r.text(), r.text(), r.text(), r.bool()}
		k.mu.Lock()
		k.origins[o] = id
		k.mu.Unlock()
		return nil
	}, `SELECT o.id, o.verb, o.author, o.file, o.no_cleanup FROM unnest($1, $2, $3, $4) u(a, b, c, d)
		JOIN {origins} o ON o.verb = u.a AND o.author = u.b AND o.file = u.c AND o.no_cleanup = u.d`, verbs, authors, files, noCleanup)
	if err := c.each(func(r *row) error {
		k.rememberDefinition(r.int(), r.text(), r.bool())
		return nil
	}, `SELECT id, hash, suspect FROM {definitions} WHERE hash = ANY($1)`, hashes); err != nil {
		return err
	}
	if !k.fill(n) {
		return errStale // more than are remembered, or names that the database changed
	}
	return nil
}

func (k *known) rememberHead(id int64, key jobKey) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.jobs) >= most {
		clear(k.jobs)
		clear(k.heads)
	}
	k.heads[key], k.jobs[id] = id, key
}

func (k *known) rememberService(id int64, key jobKey) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.services[key], k.names[id] = id, key.name
}

func (k *known) rememberDefinition(id int64, hash string, suspect bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.hashes) >= most {
		clear(k.hashes)
		clear(k.definitions)
	}
	k.definitions[hash], k.hashes[id] = definition{id, suspect}, hash
}
