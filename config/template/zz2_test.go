package template
import ("testing";"time";"context";"fmt";"strings";"os/exec")
var _ = exec.ErrNotFound
func TestBombs(t *testing.T){
 bombs:=map[string]string{
  "rep":"{{ 'a' * 10**10 }}",
  "range":"{% for i in range(10**9) %}x{% endfor %}",
  "nested":"{% for i in range(10**5) %}\n{% for j in range(10**5) %}{% for k in range(10**5) %}{% endfor %}{% endfor %}{% endfor %}",
  "nestedout":"{% for i in range(10**5) %}{% for j in range(10**5) %}xxxxxxxxxxxxxxxxxxxxxxxxxx{% endfor %}{% endfor %}",
  "macro":"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
  "macro2":"{% macro m(n) %}{{ m(n+1) }}{{ m(n+1) }}{% endmacro %}{{ m(1) }}",
  "fork":"{% macro m(n) %}{% if n < 100 %}{{ m(n+1) }}{{ m(n+1) }}{% endif %}{% endmacro %}{{ m(1) }}",
  "double":"{% set x = namespace(a='aaaaaaaaaa') %}{% for i in range(60) %}{% set x.a = x.a ~ x.a %}{% endfor %}{{ x.a|length }}",
  "center":"{{ 'a' | center(10000000000) }}",
  "ljust":"{{ 'a'.ljust(10000000000) }}",
  "fmt":"{{ '%0999999999d' | format(1) }}",
  "fmt2":"{{ '{:999999999d}'.format(1) }}",
  "replace":"{% set x = 'a' * 1000000 %}{{ x | replace('a', x) | length }}",
  "list":"{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = ns.l + ns.l %}{% endfor %}{{ ns.l|length }}",
  "self":"{% block a %}{{ self.a() }}{% endblock %}",
  "parens":"{{ "+strings.Repeat("(",100000)+"1 }}",
  "ifs":strings.Repeat("{% if true %}",100000),
  "plus":"{{ 1"+strings.Repeat("+1",1000000)+" }}",
  "attr":"{{ a"+strings.Repeat(".a",1000000)+" }}",
  "nots":"{{ "+strings.Repeat("not ",1000000)+" 1 }}",
  "methods":"{{ 'a'"+strings.Repeat(".upper()",40)+" }}",
  "indent":"{% set x = '\n' * 1000000 %}{{ x | indent(100000) }}",
  "append":"{% set l = [] %}{% for i in range(1000000) %}{% do l.append(l) %}{% endfor %}{{ l }}",
  "recloop":"{% set l = [] %}{% do l.append(l) %}{% for i in l recursive %}{{ loop(i) }}{% endfor %}",
  "lorem":"{{ lipsum(1000000, max=100000) }}",
  "bigpow":"{{ 2**10000000000 }} {{ 10**10**10 }}",
  "slice":"{{ ([1]*1000000) | batch(1, 'x') | list | length }}",
  "wordwrap":"{{ ('a' * 60000000) | wordwrap(1) | length }}",
  "join":"{{ range(1000000) | join('a' * 1000000) }}",
 }
 for n,s:=range bombs {
  t0:=time.Now()
  _,err:=Render(context.Background(),Input{Name:"f",Text:s},Options{Child:Command()})
  fmt.Printf("%-10s %6.2fs %v\n",n,time.Since(t0).Seconds(),err)
 }
}
