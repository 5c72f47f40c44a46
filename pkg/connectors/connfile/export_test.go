package connfile

// KeyName and VersionName are the forms of keys and versions in names, for tests that look
// at the files.
var (
	KeyName     = keyName     //nolint:gochecknoglobals // a function
	VersionName = versionName //nolint:gochecknoglobals // a function
)
