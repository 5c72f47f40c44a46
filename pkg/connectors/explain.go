package connectors

// An Explanation says what a sample of a target's answer would mean.
type Explanation struct {
	// Rules are those of the configuration, in their order.
	Rules []RuleLook
	// Result is what the attempt would have come to.
	Result Result
}

// A RuleLook is a rule held against a sample.
type RuleLook struct {
	Name    string `json:"name"` // its place in the configuration
	When    string `json:"when"`
	Class   string `json:"class"`
	Matches bool   `json:"matches"`
	// Decides: it is the first that matches.
	Decides bool `json:"decides"`
	// Error says why it could not be evaluated, and so does not match.
	Error string `json:"error,omitempty"`
}
