package lifecycle

import (
	"maps"
	"slices"
	"strings"
)

// systems are the products of operating systems, by ID of os-release.
var systems = map[string]string{
	"almalinux": "almalinux", "alpine": "alpine-linux", "amzn": "amazon-linux", "centos": "centos", "debian": "debian", "fedora": "fedora",
	"ol": "oracle-linux", "opensuse-leap": "opensuse", "photon": "photon", "rhel": "rhel", "rocky": "rocky-linux", "sles": "sles", "ubuntu": "ubuntu",
}

// runtimes are the products of packages, by type and full name.
var runtimes = map[string]string{
	"golang/stdlib": "go",

	"composer/drupal/core": "drupal", "composer/laravel/framework": "laravel", "composer/symfony/http-kernel": "symfony",
	"gem/rails": "rails",
	"maven/org.apache.logging.log4j/log4j-core": "log4j", "maven/org.eclipse.jetty/jetty-server": "eclipse-jetty", "maven/org.springframework.boot/spring-boot": "spring-boot",
	"maven/org.springframework/spring-core": "spring-framework", "maven/org.apache.tomcat.embed/tomcat-embed-core": "tomcat",
	"npm/@angular/core": "angular", "npm/angular": "angularjs", "npm/electron": "electron", "npm/express": "express", "npm/next": "nextjs", "npm/nuxt": "nuxt",
	"npm/react": "react", "npm/vue": "vue",
	"nuget/Microsoft.NETCore.App": "dotnet", "nuget/Microsoft.AspNetCore.App": "dotnet",
	"pypi/django": "django", "pypi/numpy": "numpy",
}

// builds are the products of packages of an operating system's form that somebody
// else than the distribution builds: how their names begin, and what is in their
// versions.
var builds = []struct{ name, mark, product string }{
	{"postgresql-", "pgdg", "postgresql"}, {"postgresql", "PGDG", "postgresql"}, {"nodejs", "nodesource", "nodejs"}, {"nginx", "~", "nginx"},
	{"mysql-community-server", "", "mysql"}, {"mariadb-server", "+maria~", "mariadb"}, {"mongodb-org-server", "", "mongodb"},
	{"temurin-", "", "eclipse-temurin"}, {"elasticsearch", "", "elasticsearch"}, {"redis-server", "rl", "redis"}, {"php", "+sury", "php"},
}

// runtimeOf returns the product that a package is a release of; "" for none.
func runtimeOf(typ, name, version string) string {
	switch typ {
	case "deb", "rpm", "apk":
		for _, b := range builds {
			if strings.HasPrefix(name[strings.LastIndexByte(name, '/')+1:], b.name) && (b.mark == "" || strings.Contains(version, b.mark)) {
				return b.product
			}
		}
		return ""
	}
	return runtimes[typ+"/"+name]
}

// Products returns the products that are of use, sorted: what to fetch.
func Products() []string {
	all := append(slices.Collect(maps.Values(systems)), slices.Collect(maps.Values(runtimes))...)
	for _, b := range builds {
		all = append(all, b.product)
	}
	slices.Sort(all)
	return slices.Compact(all)
}
