package dojobbermodel

import "errors"

// MovieOptions sets up the example graph of DoJobber's documentation. The
// first three are the attempt in which a node passes, and its tries; 0 means 3.
type MovieOptions struct {
	Bowl, Popcorn, Pizza int
	Batteries            bool // the remote control has some, so TurnOnTV can pass
	Couch                bool // it has space, so SitOnCouch can pass
}

// Movie returns DoJobber's example: watching a movie with friends. With the
// zero options it fails as in the documentation: the batteries are dead and
// there is no space on the couch.
//
// The documentation does not say what StartMovie and WatchMovie do, since the
// example never gets there; here they have to be run.
func Movie(o MovieOptions) Input {
	passes := map[string]int{"PopcornBowl": o.Bowl, "Popcorn": o.Popcorn, "Pizza": o.Pizza}
	for id, n := range passes {
		if n == 0 {
			passes[id] = 3
		}
	}
	nodes := []Node{
		{ID: "WatchMovie", Deps: []string{"StartMovie"}},
		{ID: "StartMovie", Deps: []string{"FriendsArrive", "PrepareRoom", "TurnOnTV", "InsertDVD", "SitOnCouch", "Food"}},
		{ID: "FriendsArrive", Deps: []string{"InviteFriends"}},
		{ID: "InviteFriends", Deps: []string{"DetermineDetails"}},
		{ID: "DetermineDetails", Deps: []string{"ValidateMovie", "PickTimeAndDate"}, Kind: Dummy},
		{ID: "ValidateMovie"},
		{ID: "PickTimeAndDate"},
		{ID: "PrepareRoom", Deps: []string{"CleanCouch", "FluffPillows"}, Kind: Dummy},
		{ID: "CleanCouch"},
		{ID: "FluffPillows"},
		{ID: "TurnOnTV", Deps: []string{"FindTVRemote"}},
		{ID: "FindTVRemote"},
		{ID: "InsertDVD", Deps: []string{"ValidateMovie"}},
		{ID: "SitOnCouch", Deps: []string{"PrepareRoom"}},
		{ID: "Food", Deps: []string{"Popcorn", "Pizza"}, Kind: Dummy},
		{ID: "Popcorn", Deps: []string{"PopcornBowl"}},
		{ID: "PopcornBowl"},
		{ID: "Pizza"},
	}
	for i := range nodes {
		nodes[i].Tries = passes[nodes[i].ID]
	}
	return Input{Nodes: nodes, Outcome: movieOutcome(o, passes)}
}

// movieOutcome is what the steps of the example do.
func movieOutcome(o MovieOptions, passes map[string]int) func(string, int, Step) error {
	done := map[string]bool{ // the check passes at once
		"ValidateMovie": true, "InviteFriends": true, "FriendsArrive": true,
		"FindTVRemote": true, "InsertDVD": true,
	}
	broken := map[string]string{}
	if !o.Batteries {
		broken["TurnOnTV"] = "Remote batteries are dead."
	}
	if !o.Couch {
		broken["SitOnCouch"] = "No space on couch."
	}
	late := map[string]string{
		"PopcornBowl": "Dishwasher cycle not done yet.",
		"Popcorn":     "Still popping...",
		"Pizza":       "Giordano's did not arrive yet.",
	}
	return func(node string, attempt int, step Step) error {
		text, fails := broken[node]
		if !fails && attempt < passes[node] {
			text, fails = late[node], true
		}
		switch {
		case done[node]:
			return nil
		case step == Check:
			return errors.New("not done yet")
		case !fails, step == Run && node != "Pizza":
			return nil
		}
		return errors.New(text)
	}
}
