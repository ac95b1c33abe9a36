"""The dashboards of deploy/grafana/dashboards, as code: ``make dashboards`` writes them."""
