package connfile

// VersionName is the form of versions in names, for tests that look at the files.
var VersionName = versionName //nolint:gochecknoglobals // a function
