locals {
  package_sha256 = filesha256(var.package)

  cloud_init = templatefile("${path.module}/../../cloud/cloud-init.yaml.tftpl", {
    name           = var.name
    contact        = var.contact
    package_url    = "https://storage.googleapis.com/${google_storage_bucket.package.name}/${google_storage_bucket_object.package.name}"
    package_sha256 = local.package_sha256
    package_token  = "google"
    install        = trimsuffix(file("${path.module}/../../cloud/install.sh"), "\n")
  })

  # Google's Debian images have no cloud-init: there the start-up script takes what it would have written.
  startup = <<-EOT
    #!/bin/bash
    set -euo pipefail
    [ ! -e /var/lib/casement-install.done ] || exit 0
    [ ! -d /var/lib/cloud/instance ] || exit 0
    umask 077
    cat >/etc/casement-install.env <<'ENV'
    CASEMENT_NAME='${var.name}'
    CASEMENT_CONTACT='${var.contact}'
    PACKAGE_URL='https://storage.googleapis.com/${google_storage_bucket.package.name}/${google_storage_bucket_object.package.name}'
    PACKAGE_SHA256='${local.package_sha256}'
    PACKAGE_TOKEN='google'
    ENV
    echo '${base64encode(file("${path.module}/../../cloud/install.sh"))}' | base64 -d >/usr/local/sbin/casement-install
    chmod 0755 /usr/local/sbin/casement-install
    exec /usr/local/sbin/casement-install
  EOT
}

# The address that the name leads to. It stays when the machine is made anew.
resource "google_compute_address" "gateway" {
  name   = var.instance_name
  region = var.region
}

resource "google_compute_network" "gateway" {
  name                    = var.instance_name
  auto_create_subnetworks = false
}

resource "google_compute_subnetwork" "gateway" {
  name          = var.instance_name
  region        = var.region
  network       = google_compute_network.gateway.id
  ip_cidr_range = "10.10.0.0/28"
}

# 80 for the authority's look and for redirects, 443 for everything else.
resource "google_compute_firewall" "web" {
  name          = "${var.instance_name}-web"
  network       = google_compute_network.gateway.name
  source_ranges = ["0.0.0.0/0"]
  target_tags   = [var.instance_name]

  allow {
    protocol = "tcp"
    ports    = ["80", "443"]
  }
}

resource "google_compute_firewall" "ssh" {
  count         = length(var.ssh_from) > 0 ? 1 : 0
  name          = "${var.instance_name}-ssh"
  network       = google_compute_network.gateway.name
  source_ranges = var.ssh_from
  target_tags   = [var.instance_name]

  allow {
    protocol = "tcp"
    ports    = ["22"]
  }
}

# The machine may read its own package, and nothing else.
resource "google_service_account" "gateway" {
  account_id   = "casement-${var.instance_name}"
  display_name = "Casement gateway ${var.instance_name}"
}

resource "google_storage_bucket" "package" {
  name                        = "${var.project}-${var.instance_name}-package"
  location                    = var.region
  force_destroy               = true
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
}

resource "google_storage_bucket_object" "package" {
  name   = "casement-${local.package_sha256}.deb"
  bucket = google_storage_bucket.package.name
  source = var.package
}

resource "google_storage_bucket_iam_member" "package" {
  bucket = google_storage_bucket.package.name
  role   = "roles/storage.objectViewer"
  member = "serviceAccount:${google_service_account.gateway.email}"
}

resource "google_compute_instance" "gateway" {
  name         = var.instance_name
  machine_type = var.machine_type
  zone         = var.zone
  tags         = [var.instance_name]

  boot_disk {
    # What is measured lies here: it stays when the machine is deleted.
    auto_delete = false

    initialize_params {
      image = var.image
      size  = var.disk_gb
      type  = "pd-standard"
    }
  }

  network_interface {
    subnetwork = google_compute_subnetwork.gateway.id

    access_config {
      nat_ip = google_compute_address.gateway.address
    }
  }

  metadata = {
    user-data      = local.cloud_init
    startup-script = local.startup
    enable-oslogin = "TRUE"
  }

  service_account {
    email  = google_service_account.gateway.email
    scopes = ["https://www.googleapis.com/auth/devstorage.read_only"]
  }

  shielded_instance_config {
    enable_secure_boot = true
  }

  allow_stopping_for_update = true

  lifecycle {
    # A newer image or package must not throw the disk away: upgrade on the machine.
    ignore_changes = [boot_disk[0].initialize_params[0].image, metadata]
  }

  depends_on = [google_storage_bucket_iam_member.package]
}

resource "google_dns_record_set" "gateway" {
  count        = var.dns_zone == "" || var.name == "" ? 0 : 1
  name         = "${var.name}."
  type         = "A"
  ttl          = 300
  managed_zone = var.dns_zone
  rrdatas      = [google_compute_address.gateway.address]
}
