output "address" {
  description = "The machine's address. Without var.dns_zone, make a record of type A from the name to it."
  value       = google_compute_address.gateway.address
}

output "dashboard" {
  description = "Where the dashboard is, a minute or two after the start."
  value       = "https://${var.name == "" ? google_compute_address.gateway.address : var.name}/"
}

output "first_administrator" {
  description = "Prints the link with which the first administrator signs in."
  value       = "gcloud compute ssh ${var.instance_name} --project ${var.project} --zone ${var.zone} --tunnel-through-iap --command 'sudo casement claim'"
}
